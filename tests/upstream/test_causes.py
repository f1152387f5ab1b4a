"""Why there is no answer is said in words, and logged in one line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmstream.upstream.source import UpstreamTimeout, UpstreamUnreachable
from tests.support.raw_upstream import Link, RawUpstream
from tests.support.tls import server_context
from tests.upstream.asking import asked, with_upstream


def cause(url: str, **settings: str) -> str:
    """What a request to this upstream fails with."""

    async def work(upstream: object) -> None:
        await asked(upstream)  # type: ignore[arg-type]

    with pytest.raises((UpstreamUnreachable, UpstreamTimeout)) as caught:
        with_upstream(url, work, **settings)
    return str(caught.value)


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def sends(answer: bytes) -> str:
    """What fails when an upstream sends these bytes, and closes."""

    def script(link: Link) -> None:
        link.request()
        link.send(answer)

    with RawUpstream(script) as upstream:
        return cause(upstream.url)


@contextlib.contextmanager
def tls_upstream() -> Iterator[int]:
    """One whose certificate nobody has signed but itself."""
    context = server_context()

    def script(link: Link) -> None:
        # The handshake fails: that is the test.
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(link.sock, server_side=True).close()

    with RawUpstream(script) as upstream:
        yield upstream.port


def test_f81_nobody_listens() -> None:
    said = cause(f'http://127.0.0.1:{closed_port()}')
    assert said == 'upstream cannot be reached: the connection was refused'


def test_f81_its_name_is_not_known() -> None:
    said = cause('http://name.invalid')
    assert said == 'upstream cannot be reached: its name was not found'


def test_f81_its_certificate_is_not_trusted() -> None:
    with tls_upstream() as port:
        said = cause(f'https://localhost:{port}')
    assert 'its certificate is not trusted (' in said
    assert 'self-signed' in said or 'self signed' in said


def test_f81_it_speaks_no_tls() -> None:
    def script(link: Link) -> None:
        link.read(5)
        link.send(b'HTTP/1.1 400 Bad Request\r\n\r\n')

    with RawUpstream(script) as upstream:
        said = cause(f'https://localhost:{upstream.port}')
    assert 'no TLS connection comes about (' in said


def test_f81_it_hangs_up_or_resets_before_it_answers() -> None:
    assert sends(b'') == 'upstream cannot be reached: it hung up before it answered'

    def script(link: Link) -> None:
        link.request()
        link.reset()

    with RawUpstream(script) as upstream:
        said = cause(upstream.url)
    assert said.endswith('it reset the connection before it answered')


def test_f81_what_it_answers_is_not_http() -> None:
    many = b''.join(b'X-Field-%d: 1\r\n' % n for n in range(300))
    assert sends(b'HTTP/1.1 200 OK\r\n' + many + b'\r\n').endswith(
        'its answer has too many header fields'
    )
    long = b'X-Long: ' + b'x' * 200_000 + b'\r\n'
    assert sends(b'HTTP/1.1 200 OK\r\n' + long + b'\r\n').endswith(
        'a header of its answer is too long'
    )
    for answer in (b'SSH-2.0-OpenSSH_9.6\r\n', b'HTTP/1.1 2000 OK\r\n\r\n'):
        assert sends(answer).endswith('what it answered is not HTTP as it should be')
    assert sends(b'HTTP/1.1 101 Switching Protocols\r\n\r\n').endswith(
        'it switched protocols unasked'
    )


def test_f81_its_socket_is_not_there(tmp_path: Path) -> None:
    assert cause(f'unix:{tmp_path}/none').endswith('its socket is not there')


def test_f81_it_does_not_answer_in_time() -> None:
    def script(link: Link) -> None:
        link.wait_closed()

    with RawUpstream(script) as upstream:
        said = cause(upstream.url, UPSTREAM_FIRST_BYTE_TIMEOUT='0.2')
    assert said == 'upstream did not answer in time: nothing came within 0.2 s'


def test_f81_no_connection_comes_about_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    # A name server that says nothing: no socket's timeout counts yet.
    monkeypatch.setattr('aiohttp.resolver.ThreadedResolver.resolve', never)
    said = cause('http://name.invalid', UPSTREAM_CONNECT_TIMEOUT='0.2')
    assert said == 'upstream cannot be reached: no connection came about within 0.2 s'


def test_f81_the_proxy_is_to_blame() -> None:
    proxy = f'http://127.0.0.1:{closed_port()}'
    said = cause('http://name.invalid', http_proxy=proxy)
    assert said.endswith(
        'the proxy in between cannot be reached (the connection was refused)'
    )

    def script(link: Link) -> None:
        link.request()
        link.reply(status=b'407 Proxy Authentication Required')

    with RawUpstream(script) as proxy_in_between:
        said = cause('https://name.invalid', https_proxy=proxy_in_between.url)
    assert said.endswith('the proxy in between answered 407')


def test_f81_one_log_line_says_where_and_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f'http://127.0.0.1:{closed_port()}'
    cause(f'{url}/base?key=secret')
    (record,) = caplog.records
    assert record.getMessage() == (
        'POST /v1/x: upstream cannot be reached: the connection was refused'
        f' ({url}/base)'
    )
