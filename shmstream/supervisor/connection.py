"""The supervisor's end of one control connection; it never waits for its peer."""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shmstream.control.wire import MAX_REQUEST, FrameReader, Message, encode


@dataclass(frozen=True)
class _Passed:
    """A descriptor that is sent with a reply, and what to call if it cannot be."""

    fd: int
    undelivered: Callable[[], None]


class Connection:
    """One worker's control connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames = FrameReader(MAX_REQUEST)
        self.slot: int | None = None
        self.epoch = 0
        self.out: deque[tuple[memoryview, _Passed | None] | Iterator[str]] = deque()
        self._hung_up = select.poll()
        # POLLHUP only: a peer that has shut its end for writing still reads replies.
        self._hung_up.register(sock, select.POLLHUP)

    @property
    def hung_up(self) -> bool:
        """Whether the peer has closed its end, even if requests are still unread."""
        return bool(self._hung_up.poll(0))

    def send(self, reply: Message | str) -> None:
        """Queue a reply, given as a message or as JSON text."""
        self.out.append((memoryview(encode(reply)), None))

    def send_pieces(self, pieces: Iterator[str]) -> None:
        """Queue a reply of several frames, each made once the one before it is sent.

        The first frame is made now, so that an error in it can be the reply. The others
        are made one per turn of the loop, so that other connections are served between
        them.
        """
        self.send(next(pieces))
        self.out.append(pieces)

    def send_fd(self, reply: Message, fd: int, undelivered: Callable[[], None]) -> None:
        """Queue a reply with a descriptor; the connection closes the descriptor.

        Args:
            reply: the reply.
            fd: the descriptor that is sent with it.
            undelivered: called if the descriptor was never sent, once it is closed.
        """
        self.out.append((memoryview(encode(reply)), _Passed(fd, undelivered)))

    def flush(self) -> bool:
        """Send as much as the socket takes; return whether something is left."""
        while self.out:
            item = self.out[0]
            if not isinstance(item, tuple):
                piece = next(item, None)
                if piece is None:
                    self.out.popleft()
                    continue
                self.out.appendleft((memoryview(encode(piece)), None))
                return True
            data, passed = item
            try:
                if passed is None:
                    sent = self.sock.send(data, socket.MSG_NOSIGNAL)
                else:
                    sent = socket.send_fds(self.sock, [data], [passed.fd])
                    os.close(passed.fd)
            except BlockingIOError:
                return True
            if sent == len(data):
                self.out.popleft()
            else:
                self.out[0] = (data[sent:], None)
        return False

    def close(self) -> None:
        """Close the socket, and the descriptors that were not sent."""
        self.sock.close()
        while self.out:
            item = self.out.popleft()
            passed = item[1] if isinstance(item, tuple) else None
            if passed is not None:
                os.close(passed.fd)
                passed.undelivered()
