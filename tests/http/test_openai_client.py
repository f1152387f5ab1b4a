"""OpenAI's own client, as most programs use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.http.proxied import Proxied
from tests.support.client import path
from tests.support.service import Service

MODEL = 'shmstream-demo'
MESSAGES: list[ChatCompletionMessageParam] = [{'role': 'user', 'content': 'Count.'}]


def client_of(port: int) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f'http://127.0.0.1:{port}/v1',
        api_key='any',
        max_retries=0,
        timeout=20,
    )


@pytest.fixture
def client(demo: Service) -> Iterator[openai.OpenAI]:
    with client_of(demo.port) as client:
        yield client


def header(conv_id: str) -> dict[str, str]:
    return {'X-Conversation-Id': conv_id}


def text_of(body: bytes) -> str:
    """The text of a streamed completion, or of what there is of one."""
    text = ''
    for block in body.split(b'\n\n'):
        data = block.removeprefix(b'data: ')
        if data.startswith(b'{') and data.endswith(b'}'):
            text += json.loads(data)['choices'][0]['delta'].get('content', '')
    return text


def assert_counted(text: str, tokens: int) -> None:
    """Check that nothing is missing from the text: from some word on it counts."""
    words = text.split()
    assert len(words) == tokens
    numbers = words[words.index('1') :]
    assert len(numbers) > tokens // 2
    assert numbers == [str(n + 1) for n in range(len(numbers))]


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, max_tokens=40
    )
    assert 'not a language model' in (answer.choices[0].message.content or '')
    assert answer.choices[0].finish_reason == 'stop'
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 40


def streamed(client: openai.OpenAI, conv_id: str, **more: Any) -> str:
    text = ''
    with client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        stream=True,
        extra_headers=header(conv_id),
        **more,
    ) as stream:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ''
    return text


def test_a_streamed_completion_is_replayed(
    client: openai.OpenAI, demo: Service
) -> None:
    text = streamed(client, 'openai', max_tokens=100)
    assert 'not a language model' in text
    assert_counted(text, 100)
    raw = demo.client().get(path('openai'))
    assert text_of(raw.body) == text


def test_an_interrupted_answer_is_resumed_at_its_byte(
    client: openai.OpenAI, demo: Service
) -> None:
    plain = demo.client()
    with client.chat.completions.with_streaming_response.create(
        model=MODEL,
        messages=MESSAGES,
        stream=True,
        max_tokens=150,
        extra_headers=header('resumed'),
    ) as response:
        generation = response.headers['Stream-Generation']
        assert response.headers['Location'] == '/v1/stream/resumed'
        got = b''
        for piece in response.iter_bytes(997):
            got += piece
            if len(got) > 5000:
                break  # the network is lost, in the middle of an event
    assert not plain.lookup('resumed')[0]['is_done']
    rest = plain.get(path('resumed', len(got), generation=generation))
    assert rest.status == 200
    assert rest.headers['stream-generation'] == generation
    whole = plain.get(path('resumed')).body
    assert got + rest.body == whole
    text = text_of(got + rest.body)
    assert_counted(text, 150)
    assert text == text_of(whole)


def test_leaving_does_not_end_it(client: openai.OpenAI, demo: Service) -> None:
    with client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        stream=True,
        max_tokens=100,
        extra_headers=header('left'),
    ) as stream:
        next(iter(stream))
    # It waits for the end, which nobody else does.
    reply = demo.client().get(path('left'))
    assert reply.whole
    assert_counted(text_of(reply.body), 100)


def test_its_exceptions_are_the_ones_for_our_answers(
    client: openai.OpenAI, demo: Service
) -> None:
    with pytest.raises(openai.BadRequestError, match='max_tokens'):
        client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=0)
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=MODEL, input='x')
    with pytest.raises(openai.BadRequestError, match='513 bytes'):
        streamed(client, 'x' * 513)


def test_an_error_in_band_is_an_exception(proxied: Proxied) -> None:
    head = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    event = head + b'"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
    feed = proxied.feed(first=event)
    feed.break_off()
    with client_of(proxied.service.port) as client:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            stream=True,
            extra_headers=header('in-band'),
            extra_body={'feed': feed.token},
        )
        got: list[str | None] = []
        with stream, pytest.raises(openai.APIError, match='broke off'):
            got.extend(chunk.choices[0].delta.content for chunk in stream)
    assert got == ['Hello']


def test_f65_a_title_is_asked_for_while_the_answer_streams(
    client: openai.OpenAI, demo: Service
) -> None:
    """As chat front ends do, with the headers of the conversation."""
    text, titles = '', 0
    with client.chat.completions.create(
        model=MODEL,
        messages=MESSAGES,
        stream=True,
        max_tokens=100,
        extra_headers=header('titled'),
    ) as stream:
        for chunk in stream:
            text += chunk.choices[0].delta.content or ''
            if not titles:
                title = client.chat.completions.create(
                    model=MODEL,
                    messages=MESSAGES,
                    max_tokens=1,
                    extra_headers=header('titled'),
                )
                titles += title.choices[0].finish_reason == 'stop'
    assert titles == 1
    assert_counted(text, 100)
    # And once it has ended, a turn that fails leaves it as it was.
    with pytest.raises(openai.BadRequestError, match='max_tokens'):
        streamed(client, 'titled', max_tokens=0)
    assert text_of(demo.client().get(path('titled')).body) == text
