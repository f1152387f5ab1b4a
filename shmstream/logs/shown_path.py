"""A request's path, as the log may show it (``SHMSTREAM_LOG_IDS``)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from shmstream.logs.form import id_form

_IDS = (
    (re.compile(r'(/v1/(?:stream|events)/|/responses/)[^?#]+'), r'\1*'),
    (re.compile(r'/[^/?#]+(?=/(?:stream|stop)$)'), '/*'),
)
"""The parts of a path that are the ids of conversations and answers, and what stands
for them."""


def shown_path(target: str) -> str:
    """Return the path of a request as it was sent, with a star for an id to be hidden.

    Args:
        target: the path, undecoded; a query is left out.

    Raises:
        SettingsError: it is not known whether ids may be shown.
    """
    path = target.partition('?')[0]
    return path if id_form() == 'plain' else hidden_ids(path)


def hidden_ids(path: str) -> str:
    """Return the path with a star for each id.

    Args:
        path: the path, undecoded.
    """
    for pattern, instead in _IDS:
        if pattern.search(path):
            path = pattern.sub(instead, path)
        elif pattern.search(unquote(path)):
            # The service decodes a path, so this one names a stream all the same.
            return '/*'
    return path
