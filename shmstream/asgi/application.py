"""A mountable ASGI application: ``GET``, ``HEAD`` and ``DELETE`` of ``/{id}``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from shmstream.asgi.answering import Answering, Permit
from shmstream.asgi.other_servers import AsgiApp, exchange
from shmstream.asgi.stalled import Reader, Readers
from shmstream.asgi.writer import write
from shmstream.serving.get_head_delete import METHODS, Core, nowhere
from shmstream.serving.request import Request, path_below
from shmstream.settings import send_timeout
from shmstream.streams import Streams


class Application:
    """Answers requests for streams, with what ``shmstream.serving`` decides.

    Mount it at a path of a framework's router (``app.mount('/chats', ...)``). Or put it
    before an application that cannot mount others, and name the path::

        app = Application(streams, prefix='/chats', otherwise=app)

    Args:
        streams: the deployment.
        permit: decides who may read and stop which streams. It returns an owner
            (``shmstream.owner_of(user)``, with which the stream was made) or a refusal
            (``shmstream.serving.refusal``). Without ``permit`` everybody may read and
            stop every stream that has no owner.
        prefix: the path of the streams, below the path of the mount.
        otherwise: the application that answers all other requests, those that are not
            a GET, HEAD or DELETE below ``prefix``. Without it they get 404 or 405.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading a stream that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.

    Raises:
        SettingsError: that variable has a value that cannot be used.
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
        self._prefix = prefix
        self._otherwise = otherwise
        self._readers = Readers(send_timeout() if timeout_s is None else timeout_s)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the request, or pass it on to ``otherwise``."""
        if scope['type'] == 'http':
            request = request_of(scope, self._prefix)
            if self._otherwise is None or (
                request is not None and scope['method'] in METHODS
            ):
                await exchange(self._answer, self._readers, scope, receive, send)
                return
        if self._otherwise is not None:
            await self._otherwise(scope, receive, send)

    def _answer(self, scope: Any, _receive: Any, reader: Reader) -> Awaitable[None]:
        request = request_of(scope, self._prefix)
        if request is not None:
            return self._answering.answer(request, reader)
        return write(nowhere(scope['method']), reader, [])


def request_of(scope: Any, prefix: str) -> Request | None:
    """Return the request for a stream; None if the path is not one of a stream.

    Args:
        scope: the scope of an ASGI request.
        prefix: the path of the streams, below the path of the mount.
    """
    path: str = scope['path']
    raw: bytes = (scope.get('raw_path') or b'').partition(b'?')[0]
    root: str = scope.get('root_path', '')
    if root:
        path, raw = _below(root, path, raw)
    size = len(prefix)
    if not path.startswith(prefix) or path[size : size + 1] not in ('', '/'):
        return None
    if not raw.startswith(b'/'):
        raw = quote(path).encode()
    return Request(
        scope['method'],
        path_below(raw, prefix.encode()),
        scope.get('query_string', b''),
        scope['headers'],
        environment=scope,
    )


def _below(root: str, path: str, raw: bytes) -> tuple[str, bytes]:
    """Return a path and its encoded form without the path of the mount.

    Some servers and routers leave the mount's path in ``path``, in ``raw_path``, or in
    both.
    """
    decoded = unquote_to_bytes(raw)
    below = path
    if path == root or path.startswith(root + '/'):
        below = path[len(root) :]
    if decoded == (root + below).encode():
        tail = path_below(raw, root.encode())
        return below, b'/' + tail
    return below, raw if decoded == below.encode() else b''
