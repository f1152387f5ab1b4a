"""Ways to send the bytes of a mapped file from a gunicorn worker.

A finished stream is such a file: a span of shared memory that no process writes any
more. Without Falcon, so that only these ways are measured.

    copy        256 KiB copied out and sent, then the next
    copy-64k    the same by 64 KiB
    whole       all of it copied out and sent at once
    memoryview  (ASGI) 256 KiB each, not copied by us: gunicorn does. Its WSGI side
                refuses what is not bytes
    vectored    (ASGI) chunked framing and 256 KiB in one ``writelines``
    sendfile    the file's pages: WSGI by ``wsgi.file_wrapper``; ASGI has nothing for
                it, so ``os.sendfile`` on the socket behind the transport's back
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from bench.events import finished_stream
from bench.peers.base import GunicornPeer, Peer, Session
from bench.peers.finished import SIZES, Target

STEP = 256 << 10

ASGI = ('copy', 'copy-64k', 'whole', 'memoryview', 'vectored', 'sendfile')
WSGI = ('copy', 'copy-64k', 'whole', 'sendfile')


class _Paths(GunicornPeer):
    variants: tuple[str, ...]
    arguments: tuple[str, ...] = ()

    def start(self) -> None:
        for name, size in SIZES.items():
            (self.scratch / name).write_bytes(finished_stream(size))
        self.serve({'BENCH_FILES': str(self.scratch)})

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        raise NotImplementedError('files are no live streams')


class AsgiPaths(_Paths):
    name = 'asgi'
    app = 'bench.peers.paths:asgi'
    variants = ASGI


class WsgiPaths(_Paths):
    name = 'wsgi'
    app = 'bench.peers.paths:wsgi'
    variants = WSGI
    arguments = ('--worker-class', 'gthread', '--threads', '16')


PATHS: tuple[type[Peer], ...] = (AsgiPaths, WsgiPaths)


def paths_of(peer: Peer) -> Iterator[tuple[str, str, Target]]:
    """Each variant and size, and the target to fetch."""
    assert isinstance(peer, _Paths)
    for size, length in SIZES.items():
        for variant in peer.variants:
            yield variant, size, Target(f'/{variant}/{size}', '', length)


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.fd).st_size
        self.view = memoryview(mmap.mmap(self.fd, self.size, prot=mmap.PROT_READ))

    def pieces(self, variant: str) -> Iterator[Any]:
        """The bytes as this variant hands them over."""
        step = {'copy-64k': 64 << 10, 'whole': self.size}.get(variant, STEP)
        for at in range(0, self.size, step):
            piece = self.view[at : at + step]
            yield piece if variant == 'memoryview' else bytes(piece)


_files: dict[str, _File] = {}


def _file(name: str) -> _File:
    if name not in _files:
        _files[name] = _File(Path(os.environ['BENCH_FILES']) / name)
    return _files[name]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The ASGI application."""
    if scope['type'] != 'http':
        return
    _, variant, name = scope['path'].split('/')
    file = _file(name)
    headers = [(b'content-type', b'text/event-stream')]
    if variant != 'vectored':
        headers.append((b'content-length', b'%d' % file.size))
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    if variant == 'sendfile':
        await _sendfile(file, send)
        return
    for piece in file.pieces(variant):
        await send({'type': 'http.response.body', 'body': piece, 'more_body': True})
    await send({'type': 'http.response.body', 'body': b''})


async def _sendfile(file: _File, send: Any) -> None:
    """Send what the socket takes with ``sendfile``; wait by sending a piece as usual.

    The server does not know of these bytes, so its own count, which ``send`` closes
    over, is corrected as well.
    """
    cells = dict(zip(send.__code__.co_freevars, send.__closure__, strict=True))
    transport = cells['self'].cell_contents.transport
    sent = cells['response_sent']
    fd = transport.get_extra_info('socket').fileno()
    at, piece = 0, 16 << 10
    # So that send() returns only when the transport has passed on everything.
    transport.set_write_buffer_limits(high=0)
    while at < file.size:
        body = bytes(file.view[at : at + piece])
        at += len(body)
        await send({'type': 'http.response.body', 'body': body, 'more_body': True})
        try:
            while at < file.size:
                count = os.sendfile(fd, file.fd, at, file.size - at)
                at += count
                sent.cell_contents += count
        except BlockingIOError:
            pass
        except OSError:
            return
    await send({'type': 'http.response.body', 'body': b''})


def wsgi(
    environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """The WSGI application."""
    _, variant, name = environ['PATH_INFO'].split('/')
    file = _file(name)
    headers = [
        ('Content-Type', 'text/event-stream'),
        ('Content-Length', str(file.size)),
    ]
    start_response('200 OK', headers)
    if variant == 'sendfile':
        wrapped: Iterable[bytes] = environ['wsgi.file_wrapper'](file.path.open('rb'))
        return wrapped
    return file.pieces(variant)
