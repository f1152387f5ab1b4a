"""The AI SDK's UI message stream, made of a source's texts and chunks.

::

    the source yields          the stream gets
    -------------------------  ---------------------------------------------------------
    (its first item)           {"type": "start"} before it, unless the item is one
    a text                     {"type": "text-delta"} with the text, within a part that
                               "text-start" opens; nothing for an empty text
    a chunk (dict or object)   the chunk, after the "text-end" of an open part of ours
    a chunk of type "done"     nothing: it is how Pydantic AI says [DONE]
    bytes                      the bytes: whoever yields them has encoded the stream
    (its end)                  "text-end" of an open part of ours, {"type": "finish"},
                               [DONE]; of these what the source has not said itself
"""

from __future__ import annotations

from collections.abc import Mapping

from shmstream.dialects.incoming import Incoming
from shmstream.producing.encoding import json_of

_DONE = b'data: [DONE]\n\n'
_FINISH = b'data: {"type":"finish"}\n\n'
_START = b'data: {"type":"start"}\n\n'


class UiMessages:
    """Encodes one stream."""

    def __init__(self) -> None:
        self._begun = False
        self._parts = 0
        self._open = ''

    def encode(self, item: object) -> bytes:
        """Return what the stream gets for an item; possibly nothing.

        Raises:
            NotEncodable: the item is neither a text nor JSON.
        """
        if isinstance(item, str):
            return self._text(item) if item else b''
        kind = _type_of(item)
        if kind == 'done':
            return b''
        chunk = b'data: %s\n\n' % json_of(item, nulls=False)
        begin = b'' if self._begun or kind == 'start' else _START
        self._begun = True
        return begin + self._close_part() + chunk

    def verbatim(self) -> None:
        """Note that the source encodes the stream itself."""
        self._begun = True

    def end(self, incoming: Incoming) -> bytes:
        """Return what the stream gets at the source's end."""
        if incoming.over:
            return b''
        part = self._close_part()
        if incoming.complete:
            return part + _DONE
        return (b'' if self._begun else _START) + part + _FINISH + _DONE

    def _text(self, text: str) -> bytes:
        before = b''
        if not self._begun:
            self._begun = True
            before = _START
        if not self._open:
            self._parts += 1
            # The application's own parts must not have the same ids.
            self._open = f'shmstream-{self._parts}'
            before += self._chunk('text-start')
        return before + self._chunk('text-delta', text)

    def _chunk(self, kind: str, delta: str | None = None) -> bytes:
        chunk = {'type': kind, 'id': self._open}
        if delta is not None:
            chunk['delta'] = delta
        return b'data: %s\n\n' % json_of(chunk)

    def _close_part(self) -> bytes:
        if not self._open:
            return b''
        closed = self._chunk('text-end')
        self._open = ''
        return closed


def _type_of(item: object) -> object:
    if isinstance(item, Mapping):
        return item.get('type')
    found: object = getattr(item, 'type', None)
    return found
