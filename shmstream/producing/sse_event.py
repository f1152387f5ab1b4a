"""A server-sent event that has more than data."""

from __future__ import annotations

from dataclasses import dataclass

from shmstream.errors import LocalError

MAX_FIELD = 1024
"""Characters of an event's name or id, at most."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One server-sent event, for sources whose events have names or ids.

    Attributes:
        data: a text, or what is sent as JSON: a dict, a list, a model of pydantic, ...
        name: the event's name; empty for the browser's ``message``.
        id: the event's id; empty for none.
        retry_ms: milliseconds after which a browser reconnects; None for no word of it.

    Raises:
        LocalError: a name or an id has a line end or a zero byte, or is longer than
            1,024 characters; or ``retry_ms`` is no whole number from 0 on.

    Example::

        async def model():
            yield SseEvent({'text': 'Hello'}, name='token', id='1')

        await streams.start('chat-1', model())
    """

    data: object = ''
    name: str = ''
    id: str = ''
    retry_ms: int | None = None

    def __post_init__(self) -> None:
        for field, text in (('name', self.name), ('id', self.id)):
            if len(text) > MAX_FIELD or any(c in text for c in '\r\n\0'):
                raise LocalError(
                    f"an event's {field} must be one line of at most {MAX_FIELD}"
                    f' characters, not {text[:40]!r}'
                )
        retry = self.retry_ms
        if retry is not None and (type(retry) is not int or retry < 0):
            raise LocalError(f'retry_ms must be a whole number from 0 on, not {retry}')
