"""A request's path, as the log may show it (``SHMSTREAM_LOG_IDS``)."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from shmstream.logs.form import id_form

_IDS = (
    (re.compile(r'(/v1/(?:stream|events)/|/responses/)[^?#]+'), r'\1*'),
    (re.compile(r'/[^/?#]+(?=/(?:stream|stop)$)'), '/*'),
)
"""The parts of a path that are the ids of conversations and answers, and what stands
for them."""


_UNPRINTABLE = re.compile(r'[^!-~]')
"""What an HTTP/1.1 request has in no path. gunicorn's HTTP/2 lets it through, and a
terminal that shows the log would obey it."""


def shown_path(target: str, *, ids: bool | None = None) -> str:
    """Return the path of a request, undecoded and printable, without its query.

    A star stands for an id that must not be shown.

    Args:
        target: the path as it was sent, with or without a query.
        ids: whether ids are shown; None: as ``SHMSTREAM_LOG_IDS`` says.

    Raises:
        SettingsError: it is not known whether ids may be shown.
    """
    path = target.partition('?')[0]
    if not (id_form() == 'plain' if ids is None else ids):
        path = _without_ids(path)
    return _UNPRINTABLE.sub(lambda match: quote(match[0]), path)


def _without_ids(path: str) -> str:
    for pattern, instead in _IDS:
        if pattern.search(path):
            path = pattern.sub(instead, path)
        elif pattern.search(unquote(path)):
            # The service decodes a path, so this one names a stream all the same.
            return '/*'
    return path
