"""A client whose network has gone: nobody ever hears of it again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.http.proxied import Proxied
from tests.http.wire import numbered
from tests.support.service import Service
from tests.support.upstream import Exchange, ScriptedUpstream

WAIT_S = 60.0
"""It takes some five seconds; the rest is for a busy machine."""

CLIENT = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
sock.settimeout(None)
sock.sendall(sys.argv[3].encode())
got = b''
while b'data: 00000001' not in got:
    data = sock.recv(65536)
    assert data, got
    got += data
print('reading', flush=True)
sock.recv(1)
"""


class Elsewhere:
    """A network name space that is linked to ours, until the link goes down."""

    def __init__(self) -> None:
        self.name = f'shms{secrets.token_hex(4)}'
        # A range that is for tests of networks (RFC 2544).
        net = f'198.18.{secrets.randbelow(256)}.{4 * secrets.randbelow(64)}'
        base, _, last = net.rpartition('.')
        self.ours, self._theirs = (f'{base}.{int(last) + n}' for n in (1, 2))

    def __enter__(self) -> Elsewhere:
        name = self.name
        _ip('netns', 'add', name)
        try:
            _ip('link', 'add', name, 'type', 'veth', 'peer', 'there', 'netns', name)
            _ip('addr', 'add', f'{self.ours}/30', 'dev', name)
            _ip('link', 'set', name, 'up')
            _ip('-n', name, 'addr', 'add', f'{self._theirs}/30', 'dev', 'there')
            _ip('-n', name, 'link', 'set', 'there', 'up')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # The name space stays for as long as the kernel tries to close what was open.
        subprocess.run(['ip', 'link', 'del', self.name], check=False)
        _ip('netns', 'del', self.name)

    def cut(self) -> None:
        """Packets get nowhere from now on, and nobody is told."""
        _ip('-n', self.name, 'link', 'set', 'there', 'down')

    @contextlib.contextmanager
    def run(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a program there."""
        process = subprocess.Popen(
            ['ip', 'netns', 'exec', self.name, *command],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def _ip(*arguments: str) -> None:
    subprocess.run(['ip', *arguments], check=True, capture_output=True, timeout=20)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    if shutil.which('ip') is None or os.getuid() != 0:
        pytest.skip('needs root and ip of iproute2, for a network name space')
    try:
        there = Elsewhere().__enter__()
    except subprocess.CalledProcessError as ex:
        pytest.skip(f'needs network name spaces: {ex.stderr.decode().strip()}')
    try:
        yield there
    finally:
        there.__exit__()


@pytest.mark.parametrize('loop', ['uvloop', 'asyncio'])
def test_a_client_that_vanishes_listens_no_longer(
    serve: Callable[..., Service], elsewhere: Elsewhere, loop: str
) -> None:
    def unused(_: Exchange) -> None:
        raise AssertionError('not set up yet')

    with ScriptedUpstream(unused) as upstream:
        service = serve(
            workers=1,
            settings={'UPSTREAM': upstream.url, 'SEND_TIMEOUT': '2'},
            arguments=('--asgi-loop', loop),
            bind='0.0.0.0:0',
        )
        proxied = Proxied(service, upstream)
        feed = proxied.feed(first=numbered(32))
        body = f'{{"feed": "{feed.token}"}}'
        request = (
            'POST /v1/x HTTP/1.1\r\nHost: x\r\nX-Conversation-Id: quiet\r\n'
            'Stream-On-Disconnect: cancel\r\n'
            f'Content-Length: {len(body)}\r\n\r\n{body}'
        )
        client = [sys.executable, '-c', CLIENT, elsewhere.ours, str(service.port)]
        with elsewhere.run(*client, request) as reading:
            assert reading.stdout is not None
            assert reading.stdout.readline() == 'reading\n'
            elsewhere.cut()
            assert feed.hung_up(WAIT_S), 'who has vanished is taken for a listener'
        proxied.clear()
