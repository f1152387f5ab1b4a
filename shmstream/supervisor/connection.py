"""One control connection at the supervisor's end: never waits for its peer."""

from __future__ import annotations

import os
import socket
from collections import deque

from shmstream.control.wire import MAX_REQUEST, FrameReader, Message, encode


class Connection:
    """One worker's control connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.frames = FrameReader(MAX_REQUEST)
        self.slot: int | None = None
        self.epoch = 0
        self.out: deque[tuple[memoryview, int | None]] = deque()

    def send(self, reply: Message | str, fd: int | None = None) -> None:
        """Queue a reply, or its text; the descriptor is ours to close then."""
        self.out.append((memoryview(encode(reply)), fd))

    def flush(self) -> bool:
        """Send what the socket takes; return whether something is left."""
        while self.out:
            data, fd = self.out[0]
            try:
                if fd is None:
                    sent = self.sock.send(data, socket.MSG_NOSIGNAL)
                else:
                    sent = socket.send_fds(self.sock, [data], [fd])
                    os.close(fd)
            except BlockingIOError:
                return True
            if sent == len(data):
                self.out.popleft()
            else:
                self.out[0] = (data[sent:], None)
        return False

    def close(self) -> None:
        """Close the socket and what was still to be sent."""
        for _, fd in self.out:
            if fd is not None:
                os.close(fd)
        self.out.clear()
        self.sock.close()
