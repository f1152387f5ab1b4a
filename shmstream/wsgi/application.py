"""A mountable WSGI application: ``GET``, ``HEAD`` and ``DELETE`` of ``/{id}``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_from_bytes

from shmstream.consumer import Consumer
from shmstream.errors import FollowCut, OffsetLost
from shmstream.ring.state import State
from shmstream.serving.core import METHODS, Core, bodiless, failed, nowhere
from shmstream.serving.permit import Permit, apply
from shmstream.serving.reply import Blocking, Later, Reply
from shmstream.serving.request import Header, Request
from shmstream.settings import send_timeout
from shmstream.streams import Streams
from shmstream.wsgi.body import Body, client_left

_PHRASES = {status.value: status.phrase for status in HTTPStatus}

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Application:
    """Answers requests for streams, with what ``shmstream.serving`` decides.

    Mount it at a path (by ``DispatcherMiddleware`` or the like). Or put it before an
    application, and name the path::

        app.wsgi_app = Application(streams, prefix='/chats', otherwise=app.wsgi_app)

    A reader takes a thread, a greenlet or a worker until its stream ends or it leaves.

    Args:
        streams: the deployment.
        permit: says who may ask: returns an owner (``shmstream.owner_of(user)``, as the
            stream was made with), or a refusal (``shmstream.serving.refusal``). Without
            it everybody may read and stop every stream that has no owner.
        prefix: the path, below that of the mount, that streams are found at.
        otherwise: the application that is asked for all that is not a GET, HEAD or
            DELETE below ``prefix``. Without it those are 404 and 405.
        timeout_s: how long a client may take nothing, and how long it may take of a
            stream that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.

    Raises:
        SettingsError: that variable is of no use.
    """

    def __init__(
        self,
        streams: Streams,
        permit: Permit | None = None,
        *,
        prefix: str = '',
        otherwise: WsgiApp | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._core = Core(streams)
        self._permit = permit
        self._prefix = prefix
        self._otherwise = otherwise
        self._timeout_s = send_timeout() if timeout_s is None else timeout_s

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer, or hand on."""
        request = request_of(environ, self._prefix)
        if self._otherwise is not None and (
            request is None or request.method not in METHODS
        ):
            return self._otherwise(environ, start_response)
        if request is None:
            reply = nowhere(environ['REQUEST_METHOD'])
        else:
            reply = self._reply(request)
        start_response(
            f'{reply.status} {_PHRASES.get(reply.status, "Status")}',
            [(n.decode('latin-1'), v.decode('latin-1')) for n, v in reply.headers],
        )
        body = reply.body
        if isinstance(body, bytes):
            return [body] if body else []
        return Body(environ, body.consumer, body.offset, body.leave, self._timeout_s)

    def _reply(self, request: Request) -> Reply:
        if self._permit is not None:
            try:
                refusal = apply(self._permit(request), request)
            except Exception as ex:
                return failed(request, ex)
            if refusal is not None:
                return bodiless(request, refusal)
        reply = self._core.answer(request)
        return reply if isinstance(reply, Reply) else _settled(reply, request)


def request_of(environ: dict[str, Any], prefix: str) -> Request | None:
    """Return the request for a stream that this is of; None if it is of none."""
    path: str = environ.get('PATH_INFO', '')
    size = len(prefix)
    if not path.startswith(prefix) or path[size : size + 1] not in ('', '/'):
        return None
    return Request(
        environ['REQUEST_METHOD'],
        # WSGI has it decoded, as bytes that look like latin-1.
        quote_from_bytes(path[size + 1 :].encode('latin-1')).encode(),
        environ.get('QUERY_STRING', '').encode('latin-1'),
        _headers(environ),
        environment=environ,
    )


def _headers(environ: dict[str, Any]) -> list[Header]:
    return [
        (name[5:].lower().replace('_', '-').encode(), value.encode('latin-1'))
        for name, value in environ.items()
        if name.startswith('HTTP_')
    ]


def _settled(later: Later, request: Request) -> Reply:
    """Wait for what a reply depends on; return the reply."""
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
    """Wait until a stream has begun, or will not; or so long; or the client left.

    A follower wakes up when that changes, and is let go then. It reads nothing that
    another would miss.
    """
    deadline = time.monotonic() + wait_s

    def enough() -> bool:
        return (
            consumer.state is not State.PENDING
            or consumer.evicted
            or time.monotonic() >= deadline
            or client_left(environ)
        )

    with (
        contextlib.suppress(FollowCut, OffsetLost),
        consumer.follow(0, enough) as waiting,
    ):
        next(waiting, None)
