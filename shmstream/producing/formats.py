"""The formats in which the items of a source enter a stream.

::

    name     content type          a text                a dict, model or dataclass
    -------  --------------------  --------------------  -------------------------------
    sse      text/event-stream     the data of an event  the data of an event, as JSON
    jsonl    application/x-ndjson  a line: a JSON text   a line
    ui       text/event-stream     see ``ui_messages``   see ``ui_messages``
    encoded  any (``encoded``)     its UTF-8             (refused)

Bytes are written as they are in every format, and may end anywhere: what is unfinished
is held back until it is whole. An ``SseEvent`` is for the format ``sse`` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shmstream.dialects.framing import EVENT_STREAM
from shmstream.dialects.incoming import Incoming
from shmstream.dialects.recognise import UI_HEADER
from shmstream.dialects.table import CHAT, COMPLETIONS, LANGGRAPH
from shmstream.errors import LocalError
from shmstream.producing.encoding import json_of, sse_of, utf8
from shmstream.producing.failures import NotEncodable
from shmstream.producing.ui_messages import UiMessages
from shmstream.ring.layout import MAX_CONTENT_TYPE

_CONTENT_TYPE = re.compile(r'[!-~]+/[!-~]+( *;[ -~]*)?')

_DONE = b'data: [DONE]\n\n'
_ENDS = {CHAT: _DONE, COMPLETIONS: _DONE, LANGGRAPH: b'event: end\ndata: null\n\n'}
"""Ends that no SDK yields. The other dialects end with an event that their SDKs yield,
or with the clean end of the body."""


class Encoder(Protocol):
    """Encodes the items of one source."""

    def encode(self, item: object) -> bytes:
        """Return what the stream gets for an item that is not bytes.

        Raises:
            NotEncodable: the format cannot say the item.
        """

    def verbatim(self) -> None:
        """Note that the source has yielded bytes, which the stream gets as they are."""

    def end(self, incoming: Incoming) -> bytes:
        """Return what the stream gets at the source's end.

        Args:
            incoming: knows the stream's dialect, and whether the stream has ended.
        """


@dataclass(frozen=True)
class Format:
    """How the items of a source enter a stream.

    Attributes:
        name: the format's name.
        content_type: the media type of the stream.
        headers: headers by which clients know the format; replays have them, too.

    Example::

        format = shmstream.encoded('text/plain')
        print(format.name, format.content_type)
    """

    name: str
    content_type: str
    _encoder: Callable[[], Encoder]
    headers: tuple[tuple[str, str], ...] = ()


class _Sse:
    """Server-sent events."""

    def encode(self, item: object) -> bytes:
        return sse_of(item)

    def verbatim(self) -> None:
        pass

    def end(self, incoming: Incoming) -> bytes:
        return b'' if incoming.complete else _ENDS.get(incoming.dialect, b'')


class _Lines:
    """JSON lines."""

    def encode(self, item: object) -> bytes:
        return json_of(item) + b'\n'

    def verbatim(self) -> None:
        pass

    def end(self, incoming: Incoming) -> bytes:
        return b''


class _Encoded:
    """What the source has encoded itself."""

    def encode(self, item: object) -> bytes:
        if not isinstance(item, str):
            kind = type(item).__name__
            raise NotEncodable(f'the source yielded a {kind}, not text or bytes')
        return utf8(item)

    def verbatim(self) -> None:
        pass

    def end(self, incoming: Incoming) -> bytes:
        return b''


def encoded(content_type: str) -> Format:
    """Return the format of a source that encodes its stream itself.

    Args:
        content_type: the media type of the stream. Of server-sent events and JSON lines
            only whole events enter the stream.

    Raises:
        LocalError: this is no media type, or has more than 256 bytes.

    Example::

        await streams.start('log-1', model('Hello'), format=encoded('text/plain'))
    """
    if len(content_type) > MAX_CONTENT_TYPE or not _CONTENT_TYPE.fullmatch(
        content_type
    ):
        raise LocalError(
            f'a content type is like text/plain, with at most {MAX_CONTENT_TYPE} bytes,'
            f' not {content_type[:80]!r}'
        )
    return Format('encoded', content_type, _Encoded)


FORMATS = {
    'sse': Format('sse', EVENT_STREAM, _Sse),
    'jsonl': Format('jsonl', 'application/x-ndjson', _Lines),
    'ui': Format('ui', EVENT_STREAM, UiMessages, ((UI_HEADER, 'v1'),)),
}
"""The formats that have names."""


def format_of(name: str | Format) -> Format:
    """Return the format of this name.

    Raises:
        LocalError: there is no format of this name.
    """
    if isinstance(name, Format):
        return name
    found = FORMATS.get(name)
    if found is None:
        known = ', '.join(FORMATS)
        raise LocalError(f'format must be {known} or encoded(...), not {name!r}')
    return found
