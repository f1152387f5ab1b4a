"""Taking over: what a predecessor has left in the folder of sessions.

::

    <digest>   a session, unless it is damaged, not where it belongs, or evicted
    .new-*     one that never was: removed
    .gone-*    what was evicted or replaced: counted for as long as it is mapped; but if
               it has its name still, its replacement came no farther, and it stays
    others     none of ours: left alone, and told of
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from shmstream.errors import LayoutMismatch, StreamNotFound
from shmstream.ids import digest
from shmstream.memory.directory import (
    GONE_PREFIX,
    NEW_PREFIX,
    RuntimeDirectory,
    discard,
)
from shmstream.memory.segment import Segment
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.marks import Marks
from shmstream.supervisor.session import Session

log = logging.getLogger('shmstream.supervisor')

_DIGEST = re.compile(r'[0-9a-f]{40}')
_NEW = re.compile(re.escape(NEW_PREFIX) + r'[0-9a-f]{16}')
_GONE = re.compile(re.escape(GONE_PREFIX) + r'[0-9a-f]{16}')


def adopt(directory: RuntimeDirectory, index: Index, marks: Marks, gone: Gone) -> None:
    """Index what a predecessor left; remove what cannot be used.

    Args:
        directory: where it is.
        index: gets the sessions.
        marks: marks what is none any more.
        gone: counts that.
    """
    with os.scandir(directory.sessions) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        path = directory.segment(name)
        if _NEW.fullmatch(name):
            discard(path)
        elif _GONE.fullmatch(name):
            _adopt_gone(path, marks, gone)
        elif _DIGEST.fullmatch(name):
            _adopt_session(path, index)
        else:
            log.warning('%s is none of our files', path)


def _adopt_session(path: Path, index: Index) -> None:
    try:
        segment = Segment.attach(path)
        if digest(segment.owner, segment.conv_id) != path.name:
            raise LayoutMismatch('the name is not that of its session')
        if segment.evicted:
            raise LayoutMismatch('it had been evicted')
    except (LayoutMismatch, ValueError) as ex:
        log.warning('removed %s: %s', path.name, ex)
        discard(path)
    except StreamNotFound:
        pass
    else:
        index.add(Session((segment.owner, segment.conv_id), path.name, segment))


def _adopt_gone(path: Path, marks: Marks, gone: Gone) -> None:
    try:
        segment = Segment.attach(path)
        if os.stat(path).st_nlink > 1:
            # It was about to be replaced: it still is the session of its name.
            discard(path)
            return
    except (LayoutMismatch, ValueError) as ex:
        log.warning('removed %s: %s', path.name, ex)
        discard(path)
        return
    except (StreamNotFound, FileNotFoundError):
        return
    key = (segment.owner, segment.conv_id)
    marks.cancel_and_evict(Session(key, segment.digest, segment))
    gone.keep(path, segment.owner)
