"""One request to the supervisor, and its reply; every wait is bounded."""

from __future__ import annotations

import array
import io
import os
import socket
import sys
import time
from typing import Any

from shmstream import clock
from shmstream.control.wire import MAX_REPLY, FrameReader, Message, encode
from shmstream.errors import (
    ControlError,
    LocalError,
    NoRoom,
    ShmstreamError,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.memory.directory import RuntimeDirectory

REPLY_S = 5.0
"""Seconds that a request may take, with its repetitions and its wait for other threads'
requests. The supervisor answers in well under a millisecond."""

RETRY_S = 0.02
"""Seconds between two tries to connect."""

_ON_ITS_WAY_S = 0.2
"""Seconds for a reply to arrive: so long before the client gives up, or a tenth of its
wait if that is less, the supervisor carries out the request no more."""

_Received = tuple[bytes, list[tuple[int, int, bytes]], int, Any]

_READ = 1 << 16
_INT = array.array('i').itemsize


def connect(directory: RuntimeDirectory, reply_s: float = REPLY_S) -> socket.socket:
    """Connect to the supervisor; one try.

    Args:
        directory: the runtime directory of the supervisor.
        reply_s: the timeout of connecting and of the socket, in seconds.

    Raises:
        OSError: nobody listens, or the queue of connections was full all that time.
        LocalError: eventlet has replaced this process's sockets or threads.
    """
    _refuse_eventlet()
    deadline = time.monotonic() + reply_s
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(reply_s)
        while True:
            try:
                sock.connect(os.fspath(directory.socket))
                break
            except BlockingIOError:
                # The supervisor is there, but busy: its queue of connections is full,
                # and the kernel does not wait if the socket has a timeout.
                if time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_S)
    except BaseException:
        sock.close()
        raise
    return sock


def _refuse_eventlet() -> None:
    # Here, before anything else that it breaks: under eventlet a socket with a timeout
    # does not wait in ``recvmsg``, and no doorbell works.
    eventlet = sys.modules.get('eventlet.patcher')
    if eventlet is None:
        return
    if eventlet.is_monkey_patched('socket') or eventlet.is_monkey_patched('thread'):
        raise LocalError(
            'eventlet has patched the sockets or threads of this process, in which'
            ' shmstream would block all of it: use gevent, or native threads'
        )


def _receive(sock: socket.socket) -> tuple[bytes, io.FileIO | None]:
    """Return the next bytes, and the descriptor that came with them as a file object.

    If a signal handler raises before the number of a new descriptor is stored, the
    descriptor leaks, and the lock that it holds with it. So C code stores the number in
    a list and wraps it into a file object, which closes it with its last reference.
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
    """Send one request and wait for its reply.

    Args:
        sock: the connection.
        request: the operation and its fields.
        wait_s: seconds that the reply may take.
        asked_ns: when the request was first made, in ns since boot; None: now.

    Returns:
        The reply, and the descriptor that came with it, if any: the caller closes it.

    Raises:
        OSError: the connection broke, or the reply did not come in time.
        SupervisorUnavailable: the supervisor got to the request too late.
        NoRoom: the supervisor has no room for a session.
        StreamReplaced: there is a newer stream than the one that was asked for.
        ControlError: the supervisor refused the request.
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
            # A reply in several pieces gets no more time than one piece.
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
        # Closed here, because a kept exception keeps these objects alive.
        for each in (fd, came):
            if each is not None:
                each.close()
        raise


def _refusal(reply: Message) -> ShmstreamError:
    text = str(reply.get('error'))
    if reply.get('no_room'):
        error = NoRoom(text)
        error.soon = bool(reply.get('soon'))
        error.cause = str(reply.get('cause'))
        return error
    if reply.get('late'):
        # The supervisor was stopped or busy for as long as this waits.
        return SupervisorUnavailable(f'no reply in time: {text}')
    if reply.get('replaced'):
        return StreamReplaced(str(reply['replaced']))
    return ControlError(text)


def left_s(deadline: float) -> float:
    """Return the seconds until a deadline as a socket's timeout, at least 1 ms."""
    # Never 0, which would make the socket non-blocking.
    return max(deadline - time.monotonic(), 0.001)


def ask(
    directory: RuntimeDirectory,
    op: str,
    *,
    reply_s: float = REPLY_S,
    **fields: object,
) -> Message:
    """Make one request over a connection of its own, without a slot.

    Args:
        directory: the runtime directory of the supervisor.
        op: the operation; see ``control.wire``.
        reply_s: seconds to wait for the reply.
        **fields: the operation's fields.

    Raises:
        SupervisorUnavailable: there is no supervisor, or it does not answer in time.
        NoRoom, StreamReplaced, ControlError: as ``call``.
    """
    try:
        with connect(directory, reply_s) as sock:
            return call(sock, {'op': op, **fields}, reply_s)[0]
    except TimeoutError as ex:
        raise SupervisorUnavailable(
            f'the supervisor in {directory.path} does not answer within {reply_s:g} s'
        ) from ex
    except OSError as ex:
        raise SupervisorUnavailable(
            f'no supervisor in {directory.path}: {ex.strerror or ex}'
        ) from ex
