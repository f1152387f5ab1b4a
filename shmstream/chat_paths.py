"""Where the AI SDK's ``useChat`` sends its questions to (``SHMSTREAM_CHAT``)."""

from __future__ import annotations

import re

_MOST = 16
_MOST_CHARACTERS = 256
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~!$&'()*+;=:@-]+)+")
"""A path without a slash at its end, whose clients send it as it stands."""

_OURS = ('/v1/stream', '/v1/events', '/v1/streams', '/_shmstream', '/healthz')


def parse_chat_paths(text: str) -> tuple[str, ...]:
    """Parse the setting: paths by commas; the longest comes first.

    Raises:
        ValueError: a path has another form, or is one of the service's own; or there
            are more than sixteen.
    """
    paths = [part.strip() for part in text.split(',') if part.strip()]
    for path in paths:
        if len(path) > _MOST_CHARACTERS or not _PATH.fullmatch(path):
            raise ValueError(
                'must be paths like /api/chat, by commas, without a slash at the end,'
                f' not {path!r}'
            )
        if any(f'{path}/'.startswith(f'{own}/') for own in _OURS):
            raise ValueError(f"{path!r} is one of the service's own paths")
    if len(paths) > _MOST:
        raise ValueError(f'must name at most {_MOST} paths')
    return tuple(sorted(set(paths), key=len, reverse=True))
