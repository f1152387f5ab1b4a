"""One request to the supervisor, and its reply; every wait is bounded."""

from __future__ import annotations

import array
import io
import os
import socket
import time
from typing import Any

from shmstream import clock
from shmstream.control.wire import MAX_REPLY, FrameReader, Message, encode
from shmstream.errors import (
    ControlError,
    NoRoom,
    ShmstreamError,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.memory.directory import RuntimeDirectory

REPLY_S = 5.0
"""As long as a request may take, with all its repetitions and its wait for others.
The supervisor answers in well under a millisecond."""

RETRY_S = 0.02
"""Between two tries to connect."""

_ON_ITS_WAY_S = 0.2
"""Before its asker gives up, a request is no longer carried out: so that the reply to
one that was carried out still finds somebody. At most a tenth of what is waited."""

_Received = tuple[bytes, list[tuple[int, int, bytes]], int, Any]

_READ = 1 << 16
_INT = array.array('i').itemsize


def connect(directory: RuntimeDirectory, reply_s: float = REPLY_S) -> socket.socket:
    """Connect to the supervisor; one try.

    Args:
        directory: where it is.
        reply_s: seconds that each reply may take, and the connection.

    Raises:
        OSError: nobody listens, or too many wait to be let in for all that time.
    """
    deadline = time.monotonic() + reply_s
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(reply_s)
        while True:
            try:
                sock.connect(os.fspath(directory.socket))
                break
            except BlockingIOError:
                # Its queue is full, and for a socket with a timeout the kernel does not
                # wait. That is a supervisor which is busy, not one that is not there.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_S)
    except BaseException:
        sock.close()
        raise
    return sock


def _receive(sock: socket.socket) -> tuple[bytes, io.FileIO | None]:
    """Return what comes next, and the descriptor that came with it, as an owner.

    A descriptor that is a mere number is lost if a signal handler raises before it has
    been stored, and with it the lock that it holds. So C code stores it in a list, and
    the object that owns it from then on closes it when the last reference goes.
    """
    got: list[_Received] = []
    owners: list[io.FileIO] = []
    space, flags = socket.CMSG_SPACE(_INT), socket.MSG_CMSG_CLOEXEC
    try:
        got.extend(map(sock.recvmsg, (_READ,), (space,), (flags,)))
        owners.extend(map(io.FileIO, _passed(got), ('r+',)))
        return got[0][0], owners[0] if owners else None
    except BaseException:
        for owner in owners:
            owner.close()
        if not owners:
            for number in _passed(got):
                os.close(number)
        raise


def _passed(
    got: list[_Received],
) -> list[int]:
    return [
        number
        for _, ancillary, _, _ in got
        for _, kind, raw in ancillary
        if kind == socket.SCM_RIGHTS
        for number in array.array('i', raw[: len(raw) // _INT * _INT])
    ]


def call(
    sock: socket.socket,
    request: Message,
    wait_s: float = REPLY_S,
    asked_ns: int | None = None,
) -> tuple[Message, io.FileIO | None]:
    """Send one request and wait for its reply; the descriptor is the caller's.

    Args:
        sock: the connection.
        request: the operation and its fields.
        wait_s: seconds that the reply may take.
        asked_ns: when this was asked for first; None: now.

    Raises:
        OSError: the connection broke or the reply did not come in time.
        SupervisorUnavailable: the supervisor found that it was too late to answer.
        NoRoom: the supervisor has no room for it.
        StreamReplaced: there is a newer stream than the one that was asked for.
        ControlError: the supervisor refused it.
    """
    now_ns = clock.now_ns()
    until_s = wait_s - min(_ON_ITS_WAY_S, wait_s / 10)
    stamps = {
        'asked': now_ns if asked_ns is None else asked_ns,
        'until': now_ns + int(until_s * clock.NS),
    }
    deadline = time.monotonic() + wait_s
    sock.settimeout(wait_s)
    sock.sendall(encode(request | stamps))
    frames = FrameReader(MAX_REPLY)
    replies: list[Message] = []
    fd: io.FileIO | None = None
    came: io.FileIO | None = None
    try:
        while True:
            # A reply that comes in pieces has no more time for it.
            sock.settimeout(left_s(deadline))
            data, came = _receive(sock)
            fd = came or fd
            if not data:
                raise ConnectionResetError('the supervisor has gone')
            replies += frames.feed(data)
            if replies and not replies[-1].get('more'):
                break
        reply = replies[0]
        for further in replies[1:]:
            reply['sessions'] += further['sessions']
        if not reply.get('ok'):
            raise _refusal(reply)
        return reply, fd
    except BaseException:
        # Whoever keeps the exception keeps what these names stand for.
        for each in (fd, came):
            if each is not None:
                each.close()
        raise


def _refusal(reply: Message) -> ShmstreamError:
    text = str(reply.get('error'))
    if reply.get('no_room'):
        error = NoRoom(text)
        error.soon = bool(reply.get('soon'))
        return error
    if reply.get('late'):
        # It had been stopped, and went on when we were about to give up.
        return SupervisorUnavailable(f'no reply in time: {text}')
    if reply.get('replaced'):
        return StreamReplaced(str(reply['replaced']))
    return ControlError(text)


def left_s(deadline: float) -> float:
    """Return the seconds until then, for a socket to wait: some, in any case."""
    # Never 0: that would be a socket that does not wait at all.
    return max(deadline - time.monotonic(), 0.001)


def ask(
    directory: RuntimeDirectory,
    op: str,
    *,
    reply_s: float = REPLY_S,
    **fields: object,
) -> Message:
    """Make one request over a connection of its own; it takes no slot.

    Args:
        directory: where the supervisor is.
        op: the operation; see ``control.wire``.
        reply_s: seconds to wait for the reply.
        **fields: the operation's fields.

    Raises:
        SupervisorUnavailable: there is no supervisor, or it does not answer.
    """
    try:
        with connect(directory, reply_s) as sock:
            return call(sock, {'op': op, **fields}, reply_s)[0]
    except OSError as ex:
        raise SupervisorUnavailable(
            f'no supervisor in {directory.path}: {ex.strerror or ex}'
        ) from ex
