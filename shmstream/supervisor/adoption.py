"""Adoption: a new supervisor takes over the files in the folder of sessions.

::

    <digest>   a session: indexed. Removed if it is damaged, evicted, or under the
               wrong name
    .new-*     a session that was never completed: removed
    .gone-*    an evicted or replaced segment: counted while it is mapped. If it still
               has its first name too, it was not replaced: only the name .gone-* is
               removed
    .kept-*    the ended session that a pending one is to replace: see ``predecessors``
    others     not a file of shmstream: left alone, and logged

A predecessor may have mapped more sessions than this supervisor has descriptors or
mappings for. Then ended sessions are evicted, the oldest first. If none has ended, the
remaining sessions are left for now. Producers and readers of such a session go on, but
the supervisor cannot cancel or count it, and cannot end it if its producer dies. Each
second its adoption is tried again; until it succeeds, requests for the session are
refused for want of room.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from shmstream.errors import LayoutMismatch, NoRoom, StreamNotFound
from shmstream.ids import digest
from shmstream.logs.cause import Cause
from shmstream.memory.directory import (
    GONE_PREFIX,
    KEPT_PREFIX,
    NEW_PREFIX,
    RuntimeDirectory,
    discard,
)
from shmstream.memory.reservation import no_room
from shmstream.memory.segment import Segment
from shmstream.supervisor.gone import Gone
from shmstream.supervisor.index import Index
from shmstream.supervisor.segment_words import SegmentWords
from shmstream.supervisor.session import Key, Session

log = logging.getLogger('shmstream.supervisor')

RETURN_S = 3.0
"""Seconds that a predecessor's workers may take to connect again."""

_DIGEST = re.compile(r'[0-9a-f]{40}')
_NEW = re.compile(re.escape(NEW_PREFIX) + r'[0-9a-f]{16}')
_GONE = re.compile(re.escape(GONE_PREFIX) + r'[0-9a-f]{16}')
_KEPT = re.compile(re.escape(KEPT_PREFIX) + r'[0-9a-f]{16}')


class Adoption:
    """Indexes the sessions that a predecessor left; removes files of no use.

    Args:
        directory: the runtime directory.
        index: gets the sessions.
        words: cancels and evicts gone segments.
        gone: counts gone segments.
        make_place: evicts one ended session; returns whether there was one.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        index: Index,
        words: SegmentWords,
        gone: Gone,
        make_place: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._index = index
        self._words = words
        self._gone = gone
        self._make_place = make_place
        self._left: dict[Path, OSError] = {}

    @property
    def left(self) -> list[Path]:
        """The files that could not be adopted yet."""
        return list(self._left)

    def adopt(self) -> None:
        """Adopt all files, or as many as this process has room for."""
        with os.scandir(self._directory.sessions) as entries:
            names = [entry.name for entry in entries]
        # Kept sessions come last, because each depends on the session in its place.
        for name in sorted(names, key=_is_kept):
            path = self._directory.segment(name)
            if _NEW.fullmatch(name):
                discard(path)
            elif _GONE.fullmatch(name) or _DIGEST.fullmatch(name) or _is_kept(name):
                self._try(path)
            else:
                log.warning('%s is not a file of shmstream: left alone', path)
        # The oldest ended session has to go first, and only now is it known.
        self.adopt_left()
        for ex in list(self._left.values())[:1]:
            log.error(
                '%d streams cannot be adopted yet: %s', len(self._left), ex.strerror
            )

    def adopt_left(self) -> None:
        """Try again to adopt the files that could not be adopted."""
        for path in self.left:
            while not self._try(path):
                short = isinstance(no_room(self._left[path]), NoRoom)
                if not short or not self._make_place():
                    break

    def require(self, key: Key) -> None:
        """Make sure that the session with this key is adopted, if there is one.

        Raises:
            NoRoom: there is one, and it still cannot be adopted.
        """
        path = self._directory.segment(digest(*key)) if self._left else None
        if path in self._left:
            self.adopt_left()
            if (ex := self._left.get(path)) is not None:
                raise NoRoom(f'no room: the stream cannot be mapped: {ex.strerror}')

    def _try(self, path: Path) -> bool:
        """Adopt a file, or remove it if it is of no use; False if left for now."""
        try:
            if _GONE.fullmatch(path.name):
                self._adopt_gone(path)
            elif _is_kept(path.name):
                self._adopt_kept(path)
            else:
                self._adopt_session(path)
        except OSError as ex:
            # A new exception is stored, because the one that was raised keeps the
            # objects of its traceback alive.
            self._left[path] = OSError(ex.errno, ex.strerror)
            return False
        self._left.pop(path, None)
        return True

    def _adopt_session(self, path: Path) -> None:
        try:
            segment = Segment.attach(path)
            if digest(segment.owner, segment.conv_id) != path.name:
                raise LayoutMismatch('it has the name of another session')
        except (LayoutMismatch, ValueError) as ex:
            log.warning('removed %s: %s', path.name, ex)
            discard(path)
        except StreamNotFound:
            pass
        else:
            if segment.evicted:
                # The predecessor died before it removed the name. The producer may
                # have died as well, and then the stream has no end yet.
                aside = self._directory.gone(segment.generation)
                os.rename(path, aside)
                self._gone.keep(aside, segment.owner)
                return
            key = (segment.owner, segment.conv_id)
            self._index.add(Session(key, path.name, segment))

    def _adopt_gone(self, path: Path) -> None:
        segment = self._aside(path)
        if segment is not None:
            key = (segment.owner, segment.conv_id)
            session = Session(key, segment.digest, segment)
            self._words.cancel_and_evict(session, Cause.REPLACED)
            self._gone.keep(path, segment.owner)

    def _aside(self, path: Path) -> Segment | None:
        """Return the segment at this path; None if the path is not its only name."""
        try:
            segment = Segment.attach(path)
            if os.stat(path).st_nlink == 1:
                return segment
            # The segment was about to be replaced, and still has its first name.
            discard(path)
        except (LayoutMismatch, ValueError) as ex:
            log.warning('removed %s: %s', path.name, ex)
            discard(path)
        except (StreamNotFound, FileNotFoundError):
            pass
        return None

    def _adopt_kept(self, path: Path) -> None:
        segment = self._aside(path)
        if segment is None:
            return
        in_its_place = self._left.get(self._directory.segment(segment.digest))
        if in_its_place is not None:
            raise OSError(in_its_place.errno, in_its_place.strerror)
        key = (segment.owner, segment.conv_id)
        if segment.evicted or self._index.kept(key) is not None:
            aside = self._directory.gone(segment.generation)
            os.rename(path, aside)
            self._adopt_gone(aside)
            return
        session = Session(key, segment.digest, segment)
        session.file = path.name
        self._index.add_kept(session)


def _is_kept(name: str) -> bool:
    return _KEPT.fullmatch(name) is not None
