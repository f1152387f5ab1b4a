"""Finished streams: in shmstream, as nginx's files, and as bytes that Falcon holds."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import falcon
import falcon.asgi

from bench.events import EVENT_BYTES, finished_stream
from bench.measure import Process
from bench.peers.base import GunicornPeer, Peer, Session
from bench.peers.nginx import Nginx
from bench.peers.ours import Ours

SIZES = {'64K': 64 << 10, '4M': 4 << 20}


@dataclass(frozen=True)
class Target:
    """What the load client is to fetch.

    Attributes:
        path: with %o where the byte offset goes.
        header: request header that carries the offset, or ''.
        size: bytes of a whole body.
    """

    path: str
    header: str
    size: int


class Finished:
    """A peer that has finished streams."""

    peer: Peer

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.peer.name

    def fill(self) -> None:
        """Make the streams."""

    def whole(self, size: str) -> Target:
        """A whole stream."""
        return Target(f'/{size}', '', SIZES[size])

    def tail(self, size: str) -> Target | None:
        """A stream from an offset on; None if the peer has no such thing."""
        return None


class OursFinished(Finished):
    def fill(self) -> None:
        assert isinstance(self.peer, Ours)
        command = [sys.executable, '-m', 'bench.peers.finished']
        with Process(
            'filler', [*command, str(self.peer.directory)], self.peer.log
        ) as p:
            if p.popen.wait(30):
                raise RuntimeError(f'no streams could be made:\n{p.text()}')

    def whole(self, size: str) -> Target:
        return Target(f'/v1/stream/done-{size}?from=0', '', SIZES[size])

    def tail(self, size: str) -> Target:
        return Target(f'/v1/stream/done-{size}?from=%o', '', SIZES[size])


class NginxFinished(Finished):
    def fill(self) -> None:
        assert isinstance(self.peer, Nginx)
        for name, size in SIZES.items():
            (self.peer.files / name).write_bytes(finished_stream(size))

    def tail(self, size: str) -> Target:
        return Target(f'/{size}', 'Range: bytes=%o-', SIZES[size])


class Falcon(GunicornPeer):
    """The HTTP floor: two workers that answer with bytes that they hold already."""

    name = 'falcon'
    app = 'bench.peers.finished:create_app()'

    def start(self) -> None:
        self.serve()

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        raise NotImplementedError('it has no live streams')


class FalconFinished(Finished):
    def whole(self, size: str) -> Target:
        if size == 'event':
            return Target('/event', '', EVENT_BYTES)
        return super().whole(size)


class _Data:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def on_get(
        self, _req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        resp.content_type = 'text/event-stream'
        resp.data = self._data


def create_app() -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """Falcon with /event, /64K and /4M."""
    app = falcon.asgi.App()
    for name, size in {'event': EVENT_BYTES, **SIZES}.items():
        app.add_route(f'/{name}', _Data(finished_stream(size)))
    return app


def main() -> None:
    """Write the finished streams into the runtime directory."""
    from shmstream import Streams

    with Streams.attach(sys.argv[1]) as streams:
        for name, size in SIZES.items():
            data = finished_stream(size)
            with streams.create(f'done-{name}') as producer:
                for at in range(0, size, EVENT_BYTES):
                    producer.write(data[at : at + EVENT_BYTES])


if __name__ == '__main__':
    main()
