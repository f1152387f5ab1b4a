"""The clients behind nginx that compresses, and through reloads of the service."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

from shmstream import State
from shmstream.client import following_of, resumable
from tests.client.reading import InThread
from tests.client.test_following import EVENTS, asked, post_url, stream_url
from tests.client.test_openai import (
    MESSAGES,
    MODEL,
    TEN,
    assert_same,
    client_of,
)
from tests.client.turns import Turns, cut
from tests.deploy.test_leaving import begin
from tests.http.proxied import Proxied
from tests.support.client import path
from tests.support.nginx import Nginx, needs_nginx
from tests.support.service import Service

GZIP = {'Accept-Encoding': 'gzip'}


def coded(requests: list[bytes]) -> bool:
    """Whether each of the requests accepts gzip, so that nginx compresses."""
    return all(b'gzip' in request.lower() for request in requests)


@needs_nginx
def test_compressed_bytes_are_not_counted(
    proxied: Proxied, tmp_path: Path, kind: type[InThread]
) -> None:
    """Each connection is cut after so many bytes of the compressed body."""
    events = [
        b'data: {"n": %d, "text": "%s"}\n\n' % (n, b'word ' * 9) for n in range(50)
    ]
    whole = b''.join(events)
    with (
        Nginx(tmp_path, proxied.service.port) as nginx,
        Turns(nginx.port, *(cut(120 + 7 * n) for n in range(10))) as relay,
    ):
        feed = proxied.feed()
        for event in events:
            feed.send(event)
        feed.end()
        with kind(post_url(relay.port), json=asked(feed), headers=GZIP) as reader:
            assert reader.raw() == whole
            assert reader.following.offset == len(whole)
            assert reader.following.state is State.COMPLETE
            assert reader.following.resumes >= 1
        assert coded(relay.requests)
        for offset in relay.offsets:
            assert not offset or whole[:offset].endswith(b'\n\n')


@needs_nginx
def test_what_nginx_compresses_is_unpacked(
    proxied: Proxied, tmp_path: Path, kind: type[InThread]
) -> None:
    """Each event is only made when the one before has been taken."""
    feed = proxied.feed(first=EVENTS[0])
    with (
        Nginx(tmp_path, proxied.service.port) as nginx,
        kind(post_url(nginx.port), json=asked(feed), headers=GZIP) as reader,
    ):
        blocks = reader.each('raw')
        for number in range(10):
            assert next(blocks) == EVENTS[number]
            feed.send(EVENTS[number + 1])
        assert next(blocks) == EVENTS[10]
        feed.end()
        assert list(blocks) == []
        assert reader.following.state is State.COMPLETE


@needs_nginx
def test_openai_over_ten_cuts_behind_nginx_with_gzip(
    demo: Service, tmp_path: Path
) -> None:
    """Nothing missing, nothing twice, although each cut is in a compressed body."""
    with (
        Nginx(tmp_path, demo.port) as nginx,
        Turns(nginx.port, *map(cut, range(150, 250, 10))) as relay,
        client_of(relay.port, 'gzip') as client,
    ):
        stream = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, max_tokens=100
        )
        assert stream.response.headers['content-encoding'] == 'gzip'
        chunks = list(stream)
        assert following_of(stream).resumes == len(TEN)
        assert coded(relay.requests)
    assert_same(chunks, demo, 'gzip')


@needs_nginx
def test_openai_over_ten_cuts_between_nginx_and_the_service(
    demo: Service, tmp_path: Path
) -> None:
    """nginx passes each cut on, in a compressed body that has no end."""
    with (
        Turns(demo.port, *map(cut, range(1500, 2500, 100))) as relay,
        Nginx(tmp_path, relay.port) as nginx,
        client_of(nginx.port, 'behind') as client,
    ):
        stream = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, max_tokens=100
        )
        assert stream.response.headers['content-encoding'] == 'gzip'
        chunks = list(stream)
        assert following_of(stream).resumes == len(TEN)
    assert_same(chunks, demo, 'behind')


@needs_nginx
def test_async_openai_over_ten_cuts_behind_nginx_with_gzip(
    demo: Service, tmp_path: Path
) -> None:
    async def read(port: int) -> tuple[list[Any], int]:
        async with openai.AsyncOpenAI(
            base_url=f'http://127.0.0.1:{port}/v1', api_key='any', max_retries=0
        ) as client:
            stream = await resumable(client, 'gzip-a').chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, max_tokens=100
            )
            return [chunk async for chunk in stream], following_of(stream).resumes

    with (
        Nginx(tmp_path, demo.port) as nginx,
        Turns(nginx.port, *map(cut, range(150, 250, 10))) as relay,
    ):
        chunks, resumes = asyncio.run(read(relay.port))
        assert coded(relay.requests)
    assert resumes == len(TEN)
    assert_same(chunks, demo, 'gzip-a')


def test_the_answer_goes_on_in_another_worker(
    serve: Callable[..., Service], kind: type[InThread]
) -> None:
    """1. A reader reads. 2. Its worker leaves. 3. It has all of the answer."""
    service = serve(workers=2, settings={'DEMO_RATE': '50'})
    with (
        begin(service.client(), 'chat', 150) as post,
        kind(stream_url(service.port, 'chat')) as reader,
    ):
        first = next(reader.each('raw_events'))
        service.signal(signal.SIGHUP)
        assert first + reader.raw() == post.rest()
        assert reader.following.resumes >= 1
        assert reader.following.state is State.COMPLETE


@needs_nginx
def test_a_cut_that_nginx_makes_a_clean_end_of_is_no_end(
    serve: Callable[..., Service], tmp_path: Path, kind: type[InThread]
) -> None:
    """Over HTTP/1.0 a cut looks whole; other clients need HTTP/1.1 (F39)."""
    service = serve(workers=2, settings={'DEMO_RATE': '50'})
    with (
        Nginx(tmp_path, service.port, 'proxy_http_version 1.0;') as nginx,
        begin(service.client(), 'chat', 150) as post,
        kind(stream_url(nginx.port, 'chat')) as reader,
    ):
        first = next(reader.each('raw_events'))
        service.signal(signal.SIGHUP)
        assert first + reader.raw() == post.rest()
        assert reader.following.state is State.COMPLETE


def test_a_key_is_sent_to_its_own_origin_only(
    serve: Callable[..., Service], kind: type[InThread]
) -> None:
    service = serve(workers=1, settings={'API_KEYS': 'secret', 'DEMO_RATE': '200'})
    key = {'Authorization': 'Bearer secret'}
    with (
        Turns(service.port, cut(600)) as relay,
        kind(
            post_url(relay.port),
            json={'stream': True, 'messages': [], 'max_tokens': 20},
            headers=key,
            conversation_id='keyed',
        ) as reader,
    ):
        whole = reader.raw()
        assert whole.endswith(b'data: [DONE]\n\n')
        assert all(b'Bearer secret' in request for request in relay.requests)
    live = service.client().get(path('keyed'), **key)
    assert live.body == whole
