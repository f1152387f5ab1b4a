"""A mountable WSGI application: streams at ``/{id}``, and the routes of chats."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_from_bytes

from shmstream.consumer import MAX_OFFSET, Consumer
from shmstream.errors import FollowCut, OffsetLost
from shmstream.internals import note_transport
from shmstream.ring.state import State
from shmstream.serving.chat_routes import MAX_STOP_BYTES, find_chat_route
from shmstream.serving.get_head_delete import METHODS, Core, failed, nowhere, suited
from shmstream.serving.module import module_for
from shmstream.serving.permit import Permit, apply
from shmstream.serving.problems import Problem
from shmstream.serving.reply import (
    Blocking,
    Cut,
    Later,
    Live,
    Pending,
    Place,
    Reply,
)
from shmstream.serving.request import Header, Request
from shmstream.settings import send_timeout
from shmstream.streams import Streams
from shmstream.wsgi.reader_threads import ReaderThreads
from shmstream.wsgi.response_body import Body, client_left, cut_after

_PHRASES = {status.value: status.phrase for status in HTTPStatus}

_LENGTH = re.compile('[0-9]{1,18}')

_WITHOUT_HTTP = {'CONTENT_TYPE': b'content-type', 'CONTENT_LENGTH': b'content-length'}
"""Headers that CGI, and so WSGI, gives without ``HTTP_`` before their names."""

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Application:
    """Answers requests for streams, with what ``shmstream.serving`` decides.

    Mount it at a path (by ``DispatcherMiddleware`` or the like). Or put it before an
    application, and name the path::

        app.wsgi_app = Application(streams, prefix='/chats', otherwise=app.wsgi_app)

    It answers these requests::

        GET, HEAD, DELETE  {prefix}/ID         read, look at, stop a stream
                           {prefix}?conv_id=ID
        GET, HEAD          {prefix}/ID/stream  resume a chat of the AI SDK's ``useChat``
        POST               {prefix}/ID/stop    stop it

    A reader takes a thread, a greenlet or a worker until its stream ends or its client
    leaves. Under gunicorn's ``gthread`` not more than a share of a worker's threads may
    be readers (``reader_threads``); one more gets 503 with ``Retry-After``.

    Args:
        streams: the deployment.
        permit: decides who may read and stop which streams. It returns an owner
            (``shmstream.owner_of(user)``, with which the stream was made) or a refusal
            (``shmstream.serving.refusal``). Without ``permit`` everybody may read and
            stop every stream that has no owner.
        prefix: the path of the streams, below the path of the mount.
        otherwise: the application that answers all other requests. An ID with a slash
            has to come as ``?conv_id=`` then, because all else that begins with
            ``{prefix}/ID/`` is ``otherwise``'s, and WSGI servers decode an encoded
            slash. So it can be no chat's. Without ``otherwise`` all that follows the
            prefix is the id, but for the ``/stream`` or ``/stop`` of a chat: an ID that
            ends so has to come as ``?conv_id=``. Other requests get 400, 404 or 405.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading a stream that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.
        readers: readers of a process, at most; by default ``$SHMSTREAM_READER_SHARE``
            of its threads, if their number is known.

    Raises:
        LocalError: ``readers`` is below 1.
        SettingsError: ``$SHMSTREAM_SEND_TIMEOUT`` or ``$SHMSTREAM_READER_SHARE`` has a
            value that cannot be used.

    Example::

        def permit(request):
            user = request.header(b'x-user')
            return owner_of(user.decode()) if user else refusal(403, 'Log in first')

        app = shmstream.wsgi.Application(streams, permit, prefix='/chats')
    """

    def __init__(
        self,
        streams: Streams,
        permit: Permit | None = None,
        *,
        prefix: str = '',
        otherwise: WsgiApp | None = None,
        timeout_s: float | None = None,
        readers: int | None = None,
    ) -> None:
        self._readers = ReaderThreads(readers)
        self._core = Core(streams)
        self._permit = permit
        self._prefix = prefix
        self._otherwise = otherwise
        self._timeout_s = send_timeout() if timeout_s is None else timeout_s

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer the request, or pass it on to ``otherwise``."""
        request = request_of(environ, self._prefix)
        if self._otherwise is not None and (
            request is None
            or not (find_chat_route(request) or request.method in METHODS)
            or not request.has_plain_id()
        ):
            return self._otherwise(environ, start_response)
        if request is None:
            reply = nowhere(environ['REQUEST_METHOD'])
        else:
            reply = module_for(request) or self._reply(request)
        try:
            start_response(
                f'{reply.status} {_PHRASES.get(reply.status, "Status")}',
                [(n.decode('latin-1'), v.decode('latin-1')) for n, v in reply.headers],
            )
        except BaseException:
            if reply.place is not None:
                reply.place.give_back()
            raise
        return body_of(reply, environ, self._timeout_s)

    def _reply(self, request: Request) -> Reply:
        # Before ``permit`` is asked, which may look at the id.
        is_chat = find_chat_route(request)
        if self._permit is not None:
            try:
                refusal = apply(self._permit(request), request)
            except Exception as ex:
                return failed(request, ex)
            if refusal is not None:
                return suited(request, refusal)
        if is_chat and request.method == 'POST':
            try:
                body = read_body(request.environment, MAX_STOP_BYTES)
            except Exception as ex:
                return failed(request, ex)
            return self._core.stop_chat(request, body).work()
        return answered(self._core, request, self._readers)


def answered(core: Core, request: Request, readers: ReaderThreads) -> Reply:
    """Return the reply to a request; a reader's reply has a place. Waits if need be.

    Args:
        core: decides what to answer.
        request: the request.
        readers: gives the place. If there is none, the reply is 503.
    """
    reply: Reply | Later = core.answer(request)
    place: Place | None = None
    try:
        if isinstance(reply, Pending):
            # The wait for a stream to begin takes a thread, too.
            place = readers.take()
        if not isinstance(reply, Reply):
            reply = settled(reply, request)
        if not isinstance(reply.body, (bytes, Cut)):
            reply.place = place or readers.take()
            return reply
    except Problem as ex:
        return failed(request, ex)
    if place is not None:
        place.give_back()
    return reply


def body_of(reply: Reply, environ: dict[str, Any], timeout_s: float) -> Iterable[bytes]:
    """Return the body of a reply, for a WSGI server, which has to call its ``close``.

    Args:
        reply: the reply.
        environ: the request's.
        timeout_s: as for ``Application``.
    """
    body = reply.body
    if isinstance(body, bytes):
        return [body] if body else []
    if isinstance(body, Cut):
        return cut_after(body.data)
    first, follows, framer, transport, resumed = b'', None, None, 'raw', None
    if isinstance(body, Live):
        first, follows, framer = body.first, body.follows, body.framer
        transport, resumed = body.transport, body.resumed
    return Body(
        *(environ, body.consumer, body.offset, body.leave, timeout_s),
        first=first,
        follows=follows,
        place=reply.place,
        framer=framer,
        transport=transport,
        resumed=resumed,
    )


def request_of(environ: dict[str, Any], prefix: str) -> Request | None:
    """Return the request for a stream; None if the path is not one of a stream."""
    # A WSGI server decodes the path: first percent-encoding, then as latin-1.
    path = environ.get('PATH_INFO', '').encode('latin-1')
    mount = prefix.encode()
    size = len(mount)
    if not path.startswith(mount) or path[size : size + 1] not in (b'', b'/'):
        return None
    return request_for(environ, quote_from_bytes(path[size + 1 :]).encode())


def request_for(environ: dict[str, Any], path: bytes) -> Request:
    """Return the request for a stream that a router has found.

    Args:
        environ: the request's.
        path: the id, percent-encoded; empty if it is in the query.
    """
    return Request(
        environ['REQUEST_METHOD'],
        path,
        environ.get('QUERY_STRING', '').encode('latin-1'),
        _headers(environ),
        environment=environ,
    )


def _headers(environ: dict[str, Any]) -> list[Header]:
    headers = [
        (name[5:].lower().replace('_', '-').encode(), value.encode('latin-1'))
        for name, value in environ.items()
        if name.startswith('HTTP_') and name[5:] not in _WITHOUT_HTTP
    ]
    for name, header in _WITHOUT_HTTP.items():
        if environ.get(name):
            headers.append((header, environ[name].encode('latin-1')))
    return headers


def read_body(environ: Mapping[str, Any], most: int) -> bytes:
    """Return the body of a request, or its first ``most + 1`` bytes. Blocks.

    The server bounds the wait, as for every body that an application reads.

    Raises:
        Problem: 400, the length is no number, or the body ended early; 411, nobody
            tells where the body ends.
    """
    length = environ.get('CONTENT_LENGTH') or ''
    wanted, known = most + 1, False
    if length:
        if not _LENGTH.fullmatch(length):
            raise Problem(400, "Invalid 'Content-Length'")
        wanted, known = min(wanted, int(length)), True
    elif not environ.get('wsgi.input_terminated'):
        if environ.get('HTTP_TRANSFER_ENCODING'):
            raise Problem(411, 'A body needs a Content-Length here')
        return b''
    body = bytearray()
    try:
        while len(body) < wanted:
            piece = environ['wsgi.input'].read(wanted - len(body))
            if not piece:
                break
            body += piece
    except (OSError, ValueError) as ex:
        # The client has left, or has sent what is no body.
        raise Problem(400, 'The body ended early') from ex
    if known and len(body) < wanted:
        raise Problem(400, 'The body ended early')
    return bytes(body)


def settled(later: Later, request: Request) -> Reply:
    """Wait for what the reply depends on, and return the reply."""
    if isinstance(later, Blocking):
        return later.work()
    try:
        _wait_until_begun(later.consumer, later.wait_s, dict(request.environment))
    except Exception as ex:
        return later.go_on(ex)
    return later.go_on(None)


def _wait_until_begun(
    consumer: Consumer, wait_s: float, environ: dict[str, Any]
) -> None:
    """Wait until a stream begins or is stopped, the time is over or the client leaves.

    A follower does the waiting: it wakes up at each change of the stream, and is let go
    when one of these four things has happened. It begins at the largest offset, so that
    it reads no bytes, which would be counted as delivered.
    """
    deadline = time.monotonic() + wait_s

    def enough() -> bool:
        return (
            consumer.state is not State.PENDING
            or time.monotonic() >= deadline
            or client_left(environ)
        )

    with (
        contextlib.suppress(FollowCut, OffsetLost),
        consumer.follow(MAX_OFFSET, enough) as waiting,
    ):
        note_transport(waiting, 'waiting')
        next(waiting, None)
