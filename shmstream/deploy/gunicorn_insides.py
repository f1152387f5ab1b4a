"""What is used of gunicorn's insides, which are not part of its interface.

How a worker and the master end is in ``gunicorn_ends``, which connections of a worker
are idle in ``idle_connections``, and which kind of worker it is in
``gunicorn_workers``; this module has the rest, and the table of all.

gunicorn promises none of this; 27.0.1 and later versions of 27 are known to have it,
and each version from 23 on is known to work without what it has not.
Announced stops are checked when the master starts (``before_stop``), all other uses
when a worker starts (``missing``). If gunicorn differs, a line in the log names each
use that is off. Answers are correct all the same; the last column says what is lost::

    what for             what of gunicorn 27                     without it
    direct writes        the cells of the ``send`` that          an event costs a third
                         ``ASGIProtocol._handle_http_request``   more CPU, and large
                         makes; ``_response_buffer``,            replays are copied
                         ``_flow_control``, ``_closed``,
                         ``transport`` of an ``ASGIProtocol``
    quiet cuts           the same cells; ``_closed``,            a response of Django
                         ``transport`` of an ``ASGIProtocol``    that is cut is logged
                                                                 as an error
    early headers        ``ASGIProtocol._send_response_start``,  a reader of a quiet
                         ``_response_buffer``, ``_safe_write``,  stream gets no headers
                         ``worker``                              before its first byte
    bare queries         ``ASGIProtocol._build_http_scope``      the question mark of an
                         and ``_build_http2_scope``, whose       empty query does not
                         request has a ``uri``                   reach the upstream
    closed listeners     ``servers`` of an ASGI worker           a leaving worker still
                                                                 accepts connections
                                                                 for up to a second
    idle connections     ``connection_made``,                    a leaving worker waits
                         ``_awaiting_request``,                  for the connections,
                         ``_finishing_calls``, ``req_count``,    ``graceful_timeout``
                         ``_keepalive_timeout``,                 at the most
                         ``_request_ready``,
                         ``_feed_callback_parser`` of an
                         ``ASGIProtocol``
    announced stops      ``stop`` of the arbiter                 at a stop answer tasks
                                                                 run on as in a reload,
                                                                 and are killed
    drained productions  ``_shutdown`` and ``_quick_shutdown``   what ``Streams.start``
                         of an ASGI worker, ``run`` of another   has begun ends with its
                         one; ``wsgi`` of a UvicornWorker        worker
    longer graceful      ``settings`` of ``cfg``, whose          a reload cuts the
    timeouts of gevent   ``graceful_timeout`` a                  response of a POST at
                         ``GeventWorker`` asks for every second  ``graceful_timeout``
    requests of its own  the module of ``receive``               gunicorn is treated as
                         (``BodyReceiver.receive``), and the     any other server
                         ``protocol`` of that receiver
    sockets of clients   ``gunicorn.socket`` in a WSGI environ   threads do not notice
                         (``gunicorn.sock`` of gevent's server)  that a client leaves
    bounded readers      ``ThreadWorker``, ``SyncWorker``,       all threads of a WSGI
                         ``cfg.threads``                         worker may be readers
    chunked responses    ``use_chunked`` of the method that      a client takes a stream
                         makes ``send`` (from gunicorn 25 on)    that is cut for a whole
                                                                 one; use another worker
    cuts over HTTP/2     ``cleanup_stream`` of an                a client waits for a
                         ``AsyncHTTP2Connection`` resets a       stream that is cut; use
                         stream that has not ended               HTTP/1.1
    empty first parts    ``Response.write`` of WSGI sends the    a reader of a quiet
                         head for an empty part, too. PEP 3333   stream gets no headers
                         asks a server to wait for the first     before its first byte
                         byte; such a server ignores the part
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType, FunctionType, SimpleNamespace
from typing import Any

from shmstream.deploy import idle_connections
from shmstream.deploy.gunicorn_workers import (
    is_asgi_worker,
    is_gevent_worker,
    is_uvicorn_worker,
    resets_streams,
    threads_of,
)

# What ``direct_writer`` uses of a ``send``, and of an ``ASGIProtocol``.
CELLS = {'self', 'response_sent', 'use_chunked', 'omits_body', 'response_length'}
ATTRIBUTES = ('_response_buffer', '_flow_control', '_closed', 'transport')
_CELLS_HTTP2 = {'self', 'h2_conn', 'stream_id'}
_SCOPES = ('_build_http_scope', '_build_http2_scope')

BARE_QUERY = 'shmstream.bare_query'
"""The key of a scope; true if the request target ends with a question mark."""


# -- what is there -------------------------------------------------------------------


def missing(worker: Any) -> list[str]:
    """Return a line for each fast way that is off in this worker."""
    if is_uvicorn_worker(worker):
        # It serves without gunicorn's code.
        return []
    checks = _of_asgi(worker) if is_asgi_worker(worker) else _of_wsgi(worker)
    return [
        f'{name} are off: this gunicorn is not as version 27 is known'
        for name, there in checks.items()
        if not there
    ]


def _of_asgi(worker: Any) -> dict[str, bool]:
    from gunicorn.asgi import protocol
    from gunicorn.asgi.protocol import ASGIProtocol

    receiver = getattr(protocol, 'BodyReceiver', None)
    return {
        'direct writes': _has_direct_writes(ASGIProtocol),
        'chunked responses': _has_chunks(ASGIProtocol),
        'early headers': _has_early_headers(ASGIProtocol),
        'bare queries': _has_scopes(ASGIProtocol),
        'closed listeners': hasattr(worker, 'servers'),
        'drained productions': callable(getattr(worker, '_shutdown', None)),
        'closed idle connections': idle_connections.known(
            ASGIProtocol, _used_by(ASGIProtocol)
        ),
        'requests of its own': is_its_own(getattr(receiver, 'receive', None)),
        'cuts over HTTP/2': resets_streams(worker),
    }


def _of_wsgi(worker: Any) -> dict[str, bool]:
    from gunicorn.http import wsgi

    found: dict[str, bool] = {}
    if is_gevent_worker(worker):
        found['longer graceful timeouts'] = _asks_for_graceful_timeout(type(worker))
    if type(worker).__module__ in ('gunicorn.workers.gthread', 'gunicorn.workers.sync'):
        found['bounded readers'] = threads_of(worker) is not None
    # The worker with gevent's own server makes its environ, and sends its responses,
    # without gunicorn's module.
    handler = getattr(worker, 'wsgi_handler', None)
    if handler is not None:
        has_socket = 'gunicorn.sock' in _constants(getattr(handler, 'get_environ', 0))
        return found | {'sockets of clients': has_socket}
    return found | {
        'sockets of clients': 'gunicorn.socket'
        in _constants(getattr(wsgi, 'default_environ', 0)),
        'empty first parts': _sends_head_early(getattr(wsgi, 'Response', object)),
    }


def _asks_for_graceful_timeout(worker: Any) -> bool:
    """Whether this class asks for the setting, and finds it among ``settings``."""
    from gunicorn.config import Config

    run = getattr(getattr(worker, 'run', None), '__code__', None)
    find = getattr(getattr(Config, '__getattr__', None), '__code__', None)
    return 'graceful_timeout' in getattr(run, 'co_names', ()) and 'settings' in getattr(
        find, 'co_names', ()
    )


def _constants(function: Any) -> set[Any]:
    """Return a function's constants, and those of its tuples."""
    found: set[Any] = set()
    for constant in getattr(getattr(function, '__code__', None), 'co_consts', ()):
        found.update(constant if isinstance(constant, tuple) else (constant,))
    return found


def _sends_head_early(response: Any) -> bool:
    """Whether an empty part of a WSGI body sends the head, and nothing else."""
    sent: list[str] = []

    class Probe(response):  # type: ignore[misc]
        def send_headers(self) -> None:
            sent.append('head')

    connection = SimpleNamespace(
        send=lambda _: sent.append('bytes'), sendall=lambda _: sent.append('bytes')
    )
    try:
        probe = Probe(None, connection, None)
        probe.chunked = True
        probe.write(b'')
    except Exception:
        return False
    return sent == ['head']


def _has_direct_writes(protocol: Any) -> bool:
    answering = getattr(protocol, '_handle_http_request', None)
    inner = getattr(getattr(answering, '__code__', None), 'co_consts', ())
    return _used_by(protocol).issuperset(ATTRIBUTES) and any(
        isinstance(code, CodeType)
        and code.co_name == 'send'
        and CELLS.issubset(code.co_freevars)
        for code in inner
    )


def _has_chunks(protocol: Any) -> bool:
    answering = getattr(protocol, '_handle_http_request', None)
    code = getattr(answering, '__code__', None)
    return 'use_chunked' in getattr(code, 'co_cellvars', ())


def _has_early_headers(protocol: Any) -> bool:
    return callable(getattr(protocol, '_send_response_start', None)) and _used_by(
        protocol
    ).issuperset({'_response_buffer', '_safe_write', 'worker'})


def _has_scopes(protocol: Any) -> bool:
    return all(callable(getattr(protocol, name, None)) for name in _SCOPES) and (
        'uri' in _used_by(protocol)
    )


def _used_by(protocol: Any) -> set[str]:
    """Return the names that the methods of a class use."""
    used: set[str] = set()
    for member in vars(protocol).values():
        if isinstance(member, FunctionType):
            used.update(member.__code__.co_names)
    return used


# -- early headers, connections, queries ----------------------------------------------


def send_headers_early() -> None:
    """Have this process's ASGI worker send headers in the event loop's next turn.

    gunicorn keeps the headers back until the body begins, to save a write. A reader at
    the live edge of a quiet stream would get neither status nor generation until then,
    and a proxy in between could give up on the response.

    If the body begins in the same turn, headers and body still go out in one write. If
    the length of the body is known, it is no live stream, and the headers wait for its
    first byte as before.
    """
    from gunicorn.asgi.protocol import ASGIProtocol

    if not _has_early_headers(ASGIProtocol):
        return
    buffer_headers = ASGIProtocol._send_response_start

    def flush(protocol: Any) -> None:
        headers, protocol._response_buffer = protocol._response_buffer, None
        if headers:
            protocol._safe_write(headers)

    def start(
        protocol: Any, status: Any, headers: Any, *args: Any, **more: Any
    ) -> None:
        buffer_headers(protocol, status, headers, *args, **more)
        # A loop, because a generator for every response would cost more.
        for name, _ in headers:
            if name == b'content-length':
                return
        protocol.worker.loop.call_soon(flush, protocol)

    ASGIProtocol._send_response_start = start


def note_connections() -> None:
    """Have this process's ASGI worker note its connections for ``idle_connections``."""
    from gunicorn.asgi.protocol import ASGIProtocol

    if idle_connections.known(ASGIProtocol, _used_by(ASGIProtocol)):
        idle_connections.note_connections(ASGIProtocol)


def note_bare_queries() -> None:
    """Have this process's ASGI worker set ``BARE_QUERY`` in the scope of ``/x?``."""
    from gunicorn.asgi.protocol import ASGIProtocol

    if not _has_scopes(ASGIProtocol):
        return

    def noting(build: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(build)
        def built(protocol: Any, request: Any, *args: Any) -> Any:
            scope = build(protocol, request, *args)
            if not request.query and request.uri.endswith('?'):
                scope[BARE_QUERY] = True
            return scope

        return built

    for name in _SCOPES:
        setattr(ASGIProtocol, name, noting(getattr(ASGIProtocol, name)))


# -- a request and its connection ------------------------------------------------------


def is_its_own(receive: Any) -> bool:
    """Whether an ASGI ``receive`` is gunicorn's own."""
    # A server that is not written in Python may have a ``receive`` without a module.
    module = getattr(receive, '__module__', None)
    return isinstance(module, str) and module.startswith('gunicorn.')


def socket_of(environ: dict[str, Any]) -> Any:
    """Return the socket of a WSGI request; None if the server does not show it."""
    return environ.get('gunicorn.socket') or environ.get('gunicorn.sock')


_sends: dict[int, tuple[CodeType, int, bool]] = {}
"""By the identity of its code, what is known of a ``send``: its code, which keeps that
identity, the cell of its protocol, and whether no other request shares the protocol."""


def _known_send(code: CodeType) -> tuple[CodeType, int, bool] | None:
    names = code.co_freevars
    if not (CELLS.issubset(names) or _CELLS_HTTP2.issubset(names)):
        return None
    found = _sends[id(code)] = code, names.index('self'), 'h2_conn' not in names
    return found


def protocol_of(send: Any) -> tuple[Any | None, bool]:
    """Return the protocol behind a ``send``, and whether no other request shares it.

    Requests share an HTTP/2 connection. Returns (None, False) if the ``send`` is not
    gunicorn's.
    """
    code = getattr(send, '__code__', None)
    if code is None:
        return None, False
    # It is looked up by its identity, because hashing a code object costs more.
    found = _sends.get(id(code)) or _known_send(code)
    if found is None:
        return None, False
    _, at, own = found
    return send.__closure__[at].cell_contents, own
