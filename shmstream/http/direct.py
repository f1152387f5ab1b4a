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

_CELLS = {'self', 'response_sent', 'use_chunked', 'omits_body', 'response_length'}
_ATTRIBUTES = ('_response_buffer', '_flow_control', '_closed', 'transport')


class DirectWriter:
    """Writes to the transport behind a ``send`` of gunicorn's ASGI worker.

    Make it with ``of``, after the response has been started.
    """

    def __init__(self, protocol: Any, sent: Any, chunked: bool) -> None:
        self._protocol = protocol
        self._sent = sent
        self._chunked = chunked
        self._write = protocol.transport.write

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

    def write(self, data: bytes) -> bool:
        """Write a part of a body of unknown length; a ``Write`` of ``wakeups.push``."""
        return self._chunked and self._hand_over(_framed(data), len(data))

    def write_view(self, data: memoryview) -> bool:
        """Write a part of a body of known length, without copying it.

        Args:
            data: bytes that nobody will ever change: the transport may hold on to them.
        """
        return not self._chunked and self._hand_over(data, len(data))

    def _hand_over(self, framed: bytes | memoryview, size: int) -> bool:
        protocol = self._protocol
        flow = protocol._flow_control
        # Headers that are held back go out with the first ``send``.
        if (
            protocol._response_buffer is not None
            or protocol._closed
            or flow is None
            or flow.write_paused
        ):
            return False
        try:
            self._write(framed)
        except RuntimeError:
            # It is closing. ``send`` knows what to make of that.
            return False
        self._sent.cell_contents += size
        return True


@functools.lru_cache(maxsize=1)
def _framed(data: bytes) -> bytes:
    # All readers at the live edge of a stream get the same chunk, one after the other.
    return b'%x\r\n%b\r\n' % (len(data), data)
