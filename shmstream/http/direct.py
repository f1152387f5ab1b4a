"""Writing past gunicorn's ``send``, for less than it costs.

A message, a coroutine and the framing of a chunk, for each reader anew, are a third of
what the delivery of a small event costs; and ``send`` takes no bytes that are not
copied first. So a body may write to the transport by itself, under the conditions under
which ``send`` would do just that, and it counts what it wrote where ``send`` does.

None of this is an interface of gunicorn's. Where it is not found as it is known, there
is no direct writer, and ``send`` it is: nothing but speed depends on it.
"""

from __future__ import annotations

import functools
from typing import Any, Self

from shmstream.wakeups.hub_delivery import Write

_CELLS = {'self', 'response_sent', 'use_chunked', 'omits_body', 'response_length'}
_CELLS_HTTP2 = {'self', 'h2_conn', 'stream_id'}
_ATTRIBUTES = ('_response_buffer', '_flow_control', '_closed', 'transport')


@functools.lru_cache(maxsize=8)
def _protocol_cell(code: Any) -> int | None:
    names: tuple[str, ...] = getattr(code, 'co_freevars', ())
    known = _CELLS.issubset(names) or _CELLS_HTTP2.issubset(names)
    return names.index('self') if known else None


def transport_of(send: Any) -> tuple[Any | None, bool]:
    """Return the transport that a response goes out by, and whether it is its own.

    gunicorn's, and uvicorn's; None if none is found. An HTTP/2 connection is shared.
    """
    owner = getattr(send, '__self__', None)
    own = True
    if owner is None:
        code = getattr(send, '__code__', None)
        at = _protocol_cell(code)
        if code is None or at is None:
            return None, False
        owner = send.__closure__[at].cell_contents
        own = 'h2_conn' not in code.co_freevars
    transport = getattr(owner, 'transport', None)
    if not hasattr(transport, 'get_write_buffer_size'):
        return None, False
    return transport, own


class DirectWriter:
    """Writes to the transport behind a ``send`` of gunicorn's ASGI worker.

    Make it with ``of``, after the response has been started.
    """

    def __init__(self, protocol: Any, sent: Any, chunked: bool) -> None:
        self._protocol = protocol
        self._sent = sent
        self._chunked = chunked

    @classmethod
    def of(cls, send: Any) -> Self | None:
        """Return the writer behind this ``send``, if it is one that we know."""
        names = getattr(getattr(send, '__code__', None), 'co_freevars', ())
        if not _CELLS.issubset(names):
            return None
        cells = dict(zip(names, send.__closure__, strict=True))
        protocol = cells['self'].cell_contents
        if not all(hasattr(protocol, name) for name in _ATTRIBUTES):
            return None
        if cells['omits_body'].cell_contents or protocol.transport is None:
            return None
        return cls(
            protocol, cells['response_sent'], bool(cells['use_chunked'].cell_contents)
        )

    def chunk_writer(self) -> Write | None:
        """Return what writes parts of a body of unknown length; None if it is known.

        A closure: this is called for every event of every reader.
        """
        if not self._chunked or self._protocol._flow_control is None:
            return None
        protocol, sent = self._protocol, self._sent
        flow, write_bytes = protocol._flow_control, protocol.transport.write

        def write(data: bytes) -> bool:
            # Headers that are held back go out with the first ``send``.
            if (
                flow.write_paused
                or protocol._closed
                or protocol._response_buffer is not None
            ):
                return False
            try:
                write_bytes(_framed(data))
            except (RuntimeError, OSError):
                # It is closing. ``send`` knows what to make of that.
                return False
            sent.cell_contents += len(data)
            return True

        return write

    def write_view(self, data: memoryview) -> bool:
        """Write a part of a body of known length, without copying it.

        Args:
            data: bytes that nobody will ever change: the transport may hold on to them.

        Returns:
            False if nothing was done, and ``send`` has to.
        """
        protocol = self._protocol
        flow = protocol._flow_control
        if (
            self._chunked
            or protocol._closed
            or protocol._response_buffer is not None
            or flow is None
            or flow.write_paused
        ):
            return False
        try:
            protocol.transport.write(data)
        except (RuntimeError, OSError):
            return False
        self._sent.cell_contents += len(data)
        return True


@functools.lru_cache(maxsize=1)
def _framed(data: bytes) -> bytes:
    # All readers at the live edge of a stream get the same chunk, one after the other.
    return b'%x\r\n%b\r\n' % (len(data), data)
