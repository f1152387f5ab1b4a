"""The package ``openai`` over any number of losses: its own objects, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from shmstream import LocalError, State, StreamReplaced
from shmstream.client import AsyncFollowing, Following, Limits, following_of, resumable
from tests.client.turns import Turns, cut, drop, refuse
from tests.http.proxied import Proxied
from tests.http.test_openai_client import assert_counted, text_of
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.service import Service

MODEL = 'shmstream-demo'
MESSAGES: list[ChatCompletionMessageParam] = [{'role': 'user', 'content': 'Count.'}]
TEN = (4,) * 10


@contextmanager
def client_of(
    port: int, conv_id: str, limits: Limits | None = None
) -> Iterator[openai.OpenAI]:
    """A client whose streams resume."""
    with openai.OpenAI(
        base_url=f'http://127.0.0.1:{port}/v1', api_key='any', max_retries=0, timeout=20
    ) as client:
        yield resumable(client, conv_id, limits=limits or Limits())


def text(chunks: list[ChatCompletionChunk]) -> str:
    """What the model has said."""
    deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    return ''.join(filter(None, deltas))


def data_of(body: bytes) -> list[str]:
    """The data of a stream's events, but for the end mark."""
    events = [event.removeprefix(b'data: ') for event in body.split(b'\n\n')]
    return [event.decode() for event in events if event and event != b'[DONE]']


def assert_same(chunks: list[ChatCompletionChunk], service: Service, name: str) -> None:
    """Check that these are the chunks of the stream, none missing, none twice."""
    whole = service.client().get(path(name))
    assert whole.whole
    expected = [
        ChatCompletionChunk.model_validate_json(data) for data in data_of(whole.body)
    ]
    assert chunks == expected
    assert all(type(chunk) is ChatCompletionChunk for chunk in chunks)
    assert text(chunks) == text_of(whole.body)
    assert_counted(text(chunks), 100)


def test_ten_cuts(demo: Service) -> None:
    with (
        Cutting(demo.port, b'}\n\n', *TEN) as relay,
        client_of(relay.port, 'ten') as client,
    ):
        stream = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, max_tokens=100
        )
        assert isinstance(stream, openai.Stream)
        chunks = list(stream)
        assert following_of(stream).resumes == 10
        assert len(relay.requests) == 11
    assert_same(chunks, demo, 'ten')


def test_ten_cuts_on_an_event_loop(demo: Service) -> None:
    async def read(port: int) -> tuple[list[ChatCompletionChunk], int]:
        async with openai.AsyncOpenAI(
            base_url=f'http://127.0.0.1:{port}/v1', api_key='any', max_retries=0
        ) as client:
            stream = await resumable(client, 'ten-a').chat.completions.create(
                model=MODEL, messages=MESSAGES, stream=True, max_tokens=100
            )
            async with stream:
                chunks = [chunk async for chunk in stream]
            return chunks, following_of(stream).resumes

    with Cutting(demo.port, b'}\n\n', *TEN) as relay:
        chunks, resumes = asyncio.run(read(relay.port))
    assert resumes == 10
    assert_same(chunks, demo, 'ten-a')


def test_ten_cuts_within_events(demo: Service) -> None:
    with (
        Cutting(demo.port, b'"delta"', *TEN) as relay,
        client_of(relay.port, 'within') as client,
    ):
        stream = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, max_tokens=100
        )
        chunks = list(stream)
        assert following_of(stream).resumes == 10
    assert_same(chunks, demo, 'within')


def test_the_packages_helper_resumes_too(demo: Service) -> None:
    with (
        Cutting(demo.port, b'}\n\n', 3, 3) as relay,
        client_of(relay.port, 'helper') as client,
        client.chat.completions.stream(
            model=MODEL, messages=MESSAGES, max_tokens=100
        ) as stream,
    ):
        completion = stream.get_final_completion()
        assert len(relay.requests) == 3
    content = completion.choices[0].message.content
    assert content == text_of(demo.client().get(path('helper')).body)


def test_responses_and_completions_resume_too(demo: Service) -> None:
    with (
        Cutting(demo.port, b'}\n\n', 3, 3) as relay,
        client_of(relay.port, 'response') as client,
    ):
        numbers = [
            event.sequence_number
            for event in client.responses.create(
                model=MODEL, input='Count.', stream=True, max_output_tokens=30
            )
        ]
        assert len(relay.requests) == 3
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 30
    with (
        Cutting(demo.port, b'}\n\n', 3, 3) as relay,
        client_of(relay.port, 'completion') as client,
    ):
        got = ''
        for chunk in client.completions.create(
            model=MODEL, prompt='Count.', stream=True, max_tokens=30
        ):
            got += chunk.choices[0].text
        assert len(relay.requests) == 3
    assert len(got.split()) == 30


def test_what_is_no_stream_is_the_packages_own(demo: Service) -> None:
    with client_of(demo.port, 'none') as client:
        answer = client.chat.completions.create(
            model=MODEL, messages=MESSAGES, max_tokens=30
        )
        assert 'not a language model' in (answer.choices[0].message.content or '')
        assert [model.id for model in client.models.list()] == [MODEL]
        with pytest.raises(LocalError):
            following_of(answer)
    assert demo.client().get(path('none')).status == 404


CHUNKS = [
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"%d"},"finish_reason":null}]}\n\n' % n
    for n in range(5)
]


def create(client: openai.OpenAI, token: str) -> openai.Stream[ChatCompletionChunk]:
    return client.chat.completions.create(
        model='m', messages=MESSAGES, stream=True, extra_body={'feed': token}
    )


def test_a_failure_is_the_packages_own_exception(proxied: Proxied) -> None:
    feed = proxied.feed(first=CHUNKS[0])
    with (
        Cutting(proxied.service.port, b'}\n\n', 1) as relay,
        client_of(relay.port, 'fails') as client,
    ):
        stream = create(client, feed.token)
        assert next(stream).choices[0].delta.content == '0'
        feed.break_off()
        with pytest.raises(openai.APIError) as caught:
            next(stream)
        assert not isinstance(caught.value, openai.APIConnectionError)


def test_a_loss_that_cannot_be_mended_is_the_packages_own_exception(
    proxied: Proxied,
) -> None:
    feed = proxied.feed(first=CHUNKS[0])
    with (
        Turns(proxied.service.port, cut(300), drop) as relay,
        client_of(relay.port, 'lost', Limits(patience_s=0)) as client,
    ):
        stream = create(client, feed.token)
        feed.send(CHUNKS[1])
        next(stream)
        with pytest.raises(openai.APIConnectionError):
            list(stream)


def test_a_worker_that_leaves_is_waited_for(proxied: Proxied) -> None:
    feed = proxied.feed(first=b''.join(CHUNKS))
    feed.send(b'data: [DONE]\n\n')
    feed.end()
    turns = (cut(300), refuse(503, b'Retry-After: 1'), drop)
    with (
        Turns(proxied.service.port, *turns) as relay,
        client_of(relay.port, 'waits') as client,
    ):
        chunks = list(create(client, feed.token))
        assert text(chunks) == '01234'
        assert len(relay.requests) == 4


def test_another_answer_is_not_mixed_in(proxied: Proxied) -> None:
    feed = proxied.feed(first=CHUNKS[0])
    with (
        Cutting(proxied.service.port, b'}\n\n', 1) as relay,
        client_of(relay.port, 'mixed') as client,
    ):
        stream = create(client, feed.token)
        next(stream)
        with proxied.stream('mixed', b''.join(CHUNKS)) as post:
            post.rest()
        with pytest.raises(StreamReplaced):
            next(stream)


def test_stop_and_state(proxied: Proxied) -> None:
    feed = proxied.feed(first=CHUNKS[0])
    with client_of(proxied.service.port, 'stopped') as client:
        stream = create(client, feed.token)
        next(stream)
        followed = following_of(stream)
        assert isinstance(followed, Following)
        assert followed.state is State.LIVE
        assert followed.offset == len(CHUNKS[0])
        followed.stop()
        assert [chunk.choices[0].finish_reason for chunk in stream] == ['cancelled']
    assert feed.hung_up()


def test_stop_on_an_event_loop(proxied: Proxied) -> None:
    feed = proxied.feed(first=CHUNKS[0])

    async def read() -> list[Any]:
        async with openai.AsyncOpenAI(
            base_url=f'{proxied_url(proxied)}/v1', api_key='any'
        ) as client:
            stream = await resumable(client, 'stopped-a').chat.completions.create(
                model='m',
                messages=MESSAGES,
                stream=True,
                extra_body={'feed': feed.token},
            )
            await anext(stream)
            followed = following_of(stream)
            assert isinstance(followed, AsyncFollowing)
            await followed.stop()
            return [chunk.choices[0].finish_reason async for chunk in stream]

    assert asyncio.run(read()) == ['cancelled']
    assert feed.hung_up()


def proxied_url(proxied: Proxied) -> str:
    return f'http://127.0.0.1:{proxied.service.port}'


def test_an_early_end_that_is_clean_is_no_end(proxied: Proxied) -> None:
    """A proxy makes a clean end of a cut: the package alone would lose the rest."""
    feed = proxied.feed(first=b''.join(CHUNKS))
    feed.send(b'data: [DONE]\n\n')
    feed.end()
    head = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n'
        b'Stream-State: live\r\nStream-Offset: 0\r\nContent-Length: %d\r\n'
        b'Stream-Generation: %s\r\nContent-Location: /v1/stream/clean\r\n\r\n'
    )
    with proxied.post('clean', feed) as post:
        post.rest()
        generation = post.headers['stream-generation'].encode()
    short = head % (len(CHUNKS[0]), generation) + CHUNKS[0]
    with (
        Turns(proxied.service.port, lambda relay, link, _: link.send(short)) as relay,
        client_of(relay.port, 'clean') as client,
    ):
        assert text(list(create(client, feed.token))) == '01234'


def test_a_stream_of_another_server_is_the_packages_own(proxied: Proxied) -> None:
    """It can be read, and nothing claims that it would resume."""
    feed = proxied.feed(first=b''.join(CHUNKS))
    feed.send(b'data: [DONE]\n\n')
    feed.end()
    port = int(proxied.upstream.url.rpartition(':')[2])
    with client_of(port, 'direct') as client:
        stream = create(client, feed.token)
        with pytest.raises(LocalError):
            following_of(stream)
        assert text(list(stream)) == '01234'


def test_an_id_that_the_package_cannot_send_is_refused() -> None:
    client = openai.OpenAI(base_url='http://127.0.0.1:1/v1', api_key='any')
    with client:
        for conv_id in ('', 'ü', 'a\nb'):
            with pytest.raises(LocalError):
                resumable(client, conv_id)
