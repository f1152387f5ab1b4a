"""A mountable ASGI application: streams at ``/{id}``, and the routes of chats."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from shmstream.asgi.answering import Answering, Permit
from shmstream.asgi.body import read_body
from shmstream.asgi.other_servers import AsgiApp, exchange
from shmstream.asgi.stalled import Reader, Readers
from shmstream.asgi.writer import write
from shmstream.deploy.lifespan import Drained
from shmstream.errors import LocalError
from shmstream.serving.chat_routes import MAX_STOP_BYTES, find_chat_route
from shmstream.serving.get_head_delete import METHODS, Core, nowhere
from shmstream.serving.module import module_for
from shmstream.serving.request import Request, decoded, path_below
from shmstream.settings import send_timeout
from shmstream.streams import Streams


class Application:
    """Answers requests for streams, with what ``shmstream.serving`` decides.

    Mount it at a path of a framework's router (``app.mount('/chats', ...)``). Or put it
    before an application that cannot mount others, and name the path::

        app = Application(streams, prefix='/chats', otherwise=app)

    It answers these requests::

        GET, HEAD, DELETE  {prefix}/ID         read, look at, stop a stream
                           {prefix}?conv_id=ID
        GET, HEAD          {prefix}/ID/stream  resume a chat of the AI SDK's ``useChat``
        POST               {prefix}/ID/stop    stop it

    As the outermost application it also drains its process (``Drained``).

    Args:
        streams: the deployment.
        permit: decides who may read and stop which streams. It returns an owner
            (``shmstream.owner_of(user)``, with which the stream was made) or a refusal
            (``shmstream.serving.refusal``). Without ``permit`` everybody may read and
            stop every stream that has no owner.
        prefix: the path of the streams, below the path of the mount.
        otherwise: the application that answers all other requests. A slash in the
            path's ID has to be percent-encoded then, because all else that begins with
            ``{prefix}/ID/`` is ``otherwise``'s. Without ``otherwise`` all else that
            follows the prefix is an id, and other requests get 400, 404 or 405.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading a stream that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.

    Raises:
        SettingsError: ``$SHMSTREAM_SEND_TIMEOUT`` or ``$SHMSTREAM_DRAIN`` has a value
            that cannot be used.

    Example::

        def permit(request):
            user = request.header(b'x-user')
            return owner_of(user.decode()) if user else refusal(403, 'Log in first')

        app = Application(streams, permit, prefix='/chats', otherwise=app)
    """

    def __init__(
        self,
        streams: Streams,
        permit: Permit | None = None,
        *,
        prefix: str = '',
        otherwise: AsgiApp | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._answering = Answering(Core(streams), permit)
        self._timeout_s = send_timeout() if timeout_s is None else timeout_s
        self._prefix = prefix
        self._otherwise = otherwise
        self._lifespan = Drained(_unasked if otherwise is None else otherwise)
        self._readers = Readers(self._timeout_s)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request, or pass it on to ``otherwise``.

        Raises:
            CancelledError: the server has to cut the response, or has cancelled it.
            LocalError: nothing is known of scopes of this type.
            Exception: whatever ``otherwise``, ``receive`` or ``send`` raises.
        """
        if scope['type'] == 'http':
            self._lifespan.listen(send)
            request = request_of(scope, self._prefix)
            if self._otherwise is None or (
                request is not None
                and (find_chat_route(request) or request.method in METHODS)
                and request.has_plain_id()
            ):
                await exchange(self._answer, self._readers, scope, receive, send)
                return
        if scope['type'] == 'lifespan':
            await self._lifespan(scope, receive, send)
        elif self._otherwise is not None:
            await self._otherwise(scope, receive, send)
        else:
            await _answer_no_request(scope['type'], receive, send)

    def _answer(self, scope: Any, receive: Any, reader: Reader) -> Awaitable[None]:
        request = request_of(scope, self._prefix)
        if request is None:
            return write(nowhere(scope['method']), reader, [])
        module = module_for(request)
        if module is not None:
            return write(module, reader, [])
        if not find_chat_route(request) or request.method != 'POST':
            return self._answering.answer(request, reader)

        def body() -> Awaitable[bytes]:
            return read_body(receive, MAX_STOP_BYTES, self._timeout_s)

        return self._answering.stop_chat(request, body, reader)


async def _unasked(_scope: Any, _receive: Any, _send: Any) -> None:
    """Leave the lifespan to ``Drained``: the application makes its ``Streams``."""


async def _answer_no_request(kind: str, receive: Any, send: Any) -> None:
    """Answer what a server asks of every application that it serves.

    Args:
        kind: the type of the scope.
        receive: the server's.
        send: the server's.

    Raises:
        LocalError: nothing is known of scopes of this type.
    """
    if kind == 'websocket':
        if (await receive())['type'] == 'websocket.connect':
            # A close before the handshake is a refusal: the client gets 403.
            await send({'type': 'websocket.close'})
    else:
        # The ASGI specification asks for an exception.
        raise LocalError(f'a scope of type {kind!r} cannot be answered')


def request_of(scope: Any, prefix: str) -> Request | None:
    """Return the request for a stream; None if the path is not one of a stream.

    Args:
        scope: the scope of an ASGI request.
        prefix: the path of the streams, below the path of the mount.
    """
    path: str = scope['path']
    root: str = scope.get('root_path', '')
    # Some servers and routers leave the mount's path in ``path``, in ``raw_path``, or
    # in both.
    if root and (path == root or path.startswith(root + '/')):
        path = path[len(root) :]
    size = len(prefix)
    if not path.startswith(prefix) or path[size : size + 1] not in ('', '/'):
        return None
    raw: bytes = scope.get('raw_path') or b''
    if raw == path.encode() and b'%' not in raw:
        # Most paths have nothing encoded.
        rest = raw[len(prefix.encode()) + 1 :]
    else:
        rest = _rest_of(raw.partition(b'?')[0], path, root, prefix)
    return Request(
        scope['method'],
        rest,
        scope.get('query_string', b''),
        scope['headers'],
        environment=scope,
    )


def _rest_of(raw: bytes, path: str, root: str, prefix: str) -> bytes:
    mount = prefix
    # Servers decode in this way, too.
    sent = decoded(raw).decode('utf-8', 'replace')
    if sent == root + path:
        mount = root + prefix
    elif sent != path:
        # The server has no ``raw_path``, or somebody has rewritten ``path`` only.
        raw = quote(path).encode()
    return path_below(raw, mount.encode())
