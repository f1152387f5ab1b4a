"""Writes to the transport behind a ``send`` of gunicorn's ASGI worker.

``gunicorn_insides`` says what of gunicorn this needs, and checks that it is there.
"""

from __future__ import annotations

import functools
from typing import Any, Self

from shmstream.deploy.gunicorn_insides import ATTRIBUTES, CELLS
from shmstream.wakeups.hub_delivery import Write


class DirectWriter:
    """Writes to the transport behind a ``send`` of gunicorn's ASGI worker.

    For each reader ``send`` needs a message, a coroutine and the framing of a chunk,
    which is a third of the cost of delivering a small event. And it copies all bytes.
    So this class writes to the transport itself, but only under the conditions under
    which ``send`` would do so. It adds what it wrote to the count that ``send`` keeps.

    Make one with ``of``, after the response has been started.
    """

    def __init__(self, protocol: Any, sent: Any, chunked: bool) -> None:
        self._protocol = protocol
        self._sent = sent
        self._chunked = chunked

    @classmethod
    def of(cls, send: Any) -> Self | None:
        """Return the writer behind this ``send``; None if the ``send`` is not known."""
        names = getattr(getattr(send, '__code__', None), 'co_freevars', ())
        if not CELLS.issubset(names):
            return None
        cells = dict(zip(names, send.__closure__, strict=True))
        protocol = cells['self'].cell_contents
        if not all(hasattr(protocol, name) for name in ATTRIBUTES):
            return None
        if cells['omits_body'].cell_contents or protocol.transport is None:
            return None
        return cls(
            protocol, cells['response_sent'], bool(cells['use_chunked'].cell_contents)
        )

    def chunk_writer(self) -> Write | None:
        """Return a function that writes a part of a body of unknown length.

        The function is a closure, because it is called for every event of every reader.

        Returns:
            None if the length of the body is known.
        """
        if not self._chunked or self._protocol._flow_control is None:
            return None
        protocol, sent = self._protocol, self._sent
        flow, write_bytes = protocol._flow_control, protocol.transport.write

        def write(data: bytes) -> bool:
            # If gunicorn still holds the headers back, ``send`` has to write them.
            if (
                flow.write_paused
                or protocol._closed
                or protocol._response_buffer is not None
            ):
                return False
            try:
                write_bytes(_framed(data))
            except (RuntimeError, OSError):
                # The transport is closing, which ``send`` handles.
                return False
            sent.cell_contents += len(data)
            return True

        return write

    def write_view(self, data: memoryview) -> bool:
        """Write a part of a body of known length, without a copy.

        Args:
            data: bytes that nobody changes any more, because the transport may keep
                them for a while.

        Returns:
            False if nothing was written, and ``send`` has to be used.
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
    # Cached, because all readers at the live edge of a stream get the same chunk, one
    # after the other.
    return b'%x\r\n%b\r\n' % (len(data), data)
