"""Request heads that go upstream byte for byte as the client sent them.

The service holds header values as text with one character per byte (latin-1). aiohttp
encodes text as UTF-8, which turns one byte into two. aiohttp's URLs also drop the
question mark of an empty query. The connection object here undoes both in the head that
aiohttp writes.
"""

from __future__ import annotations

from typing import Any

from aiohttp.connector import Connection


class _Forwarding:
    """Stands for another object: it forwards all attributes that its class lacks."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ExactConnection(_Forwarding):
    """Stands for a connection, for one request whose head must stay as it is.

    Args:
        inner: the connection.
        bare_query: the target has a question mark with nothing after it.
    """

    def __init__(self, inner: Connection, bare_query: bool) -> None:
        super().__init__(inner)
        self.protocol = _ExactProtocol(inner.protocol, bare_query)


class _ExactProtocol(_Forwarding):
    def __init__(self, inner: Any, bare_query: bool) -> None:
        super().__init__(inner)
        self._writing = _ExactWriting(inner.transport, bare_query)

    @property
    def transport(self) -> Any:
        return None if self._inner.transport is None else self._writing


class _ExactWriting(_Forwarding):
    def __init__(self, inner: Any, bare_query: bool) -> None:
        super().__init__(inner)
        self._bare_query = bare_query
        self._begun = False

    def write(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            head, end, body = bytes(data).partition(b'\r\n\r\n')
            if self._bare_query:
                head = head.replace(b' HTTP/', b'? HTTP/', 1)
            data = head.decode('utf-8').encode('latin-1') + end + body
        self._inner.write(data)

    def writelines(self, parts: Any) -> None:
        for part in parts:
            self.write(part)
