"""What the real clients make of an end, a failure and a stop, in their dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import anthropic
import ollama
import openai
import pytest

from tests.dialects.samples import SAMPLES
from tests.http.conftest import Watch
from tests.http.test_openai_client import MESSAGES, MODEL, assert_counted
from tests.support.client import path
from tests.support.faulty import FaultyAnswer, FaultyUpstream
from tests.support.service import Service

Begin = Callable[[int, str, str], Iterable[str]]
"""From a port, a conversation's id and an answer to the texts as they come."""

WORDS = 100


def _headers(conv_id: str, answer: str) -> dict[str, str]:
    return {'X-Conversation-Id': conv_id, 'X-Answer': answer}


def _openai(port: int, headers: dict[str, str]) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f'http://127.0.0.1:{port}/v1',
        api_key='any',
        max_retries=0,
        timeout=20,
        default_headers=headers,
    )


def _anthropic(port: int, headers: dict[str, str]) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=f'http://127.0.0.1:{port}',
        api_key='any',
        max_retries=0,
        timeout=20,
        default_headers=headers,
    )


def chat(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _openai(port, _headers(conv_id, answer)) as client,
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, max_tokens=WORDS
        ) as stream,
    ):
        for chunk in stream:
            yield chunk.choices[0].delta.content or ''


def chat_helper(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _openai(port, _headers(conv_id, answer)) as client,
        client.chat.completions.stream(
            model=MODEL, messages=MESSAGES, max_tokens=WORDS
        ) as stream,
    ):
        for event in stream:
            if event.type == 'content.delta':
                yield event.delta
        stream.get_final_completion()


def completions(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _openai(port, _headers(conv_id, answer)) as client,
        client.completions.create(
            model=MODEL, prompt='Count.', stream=True, max_tokens=WORDS
        ) as stream,
    ):
        for chunk in stream:
            yield chunk.choices[0].text


def responses(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _openai(port, _headers(conv_id, answer)) as client,
        client.responses.create(
            model=MODEL, input='Count.', stream=True, max_output_tokens=WORDS
        ) as stream,
    ):
        for event in stream:
            if event.type == 'response.output_text.delta':
                yield event.delta


def responses_helper(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _openai(port, _headers(conv_id, answer)) as client,
        client.responses.stream(
            model=MODEL, input='Count.', max_output_tokens=WORDS
        ) as stream,
    ):
        for event in stream:
            if event.type == 'response.output_text.delta':
                yield event.delta


def messages(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _anthropic(port, _headers(conv_id, answer)) as client,
        client.messages.create(
            model=MODEL,
            messages=[{'role': 'user', 'content': 'Count.'}],
            max_tokens=WORDS,
            stream=True,
        ) as stream,
    ):
        for event in stream:
            if event.type == 'content_block_delta' and event.delta.type == 'text_delta':
                yield event.delta.text


def messages_helper(port: int, conv_id: str, answer: str) -> Iterator[str]:
    with (
        _anthropic(port, _headers(conv_id, answer)) as client,
        client.messages.stream(
            model=MODEL,
            messages=[{'role': 'user', 'content': 'Count.'}],
            max_tokens=WORDS,
        ) as stream,
    ):
        yield from stream.text_stream
        stream.get_final_message()


def ollama_chat(port: int, conv_id: str, answer: str) -> Iterator[str]:
    headers = _headers(conv_id, answer)
    with ollama.Client(
        f'http://127.0.0.1:{port}', headers=headers, timeout=20
    ) as client:
        for part in client.chat(
            MODEL,
            [{'role': 'user', 'content': 'Count.'}],
            stream=True,
            options={'num_predict': WORDS},
        ):
            yield part.message.content or ''


CLIENTS: dict[str, tuple[Begin, str, type[Exception]]] = {
    'chat': (chat, 'chat', openai.APIError),
    'chat helper': (chat_helper, 'chat', openai.APIError),
    'completions': (completions, 'completions', openai.APIError),
    'responses': (responses, 'responses', openai.APIError),
    'responses helper': (responses_helper, 'responses', openai.APIError),
    'messages': (messages, 'anthropic', anthropic.APIError),
    'messages helper': (messages_helper, 'anthropic', anthropic.APIError),
    'ollama': (ollama_chat, 'ollama', ollama.ResponseError),
}

clients = pytest.mark.parametrize('client', CLIENTS)


@pytest.fixture(scope='module')
def faulty(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[tuple[Service, FaultyUpstream]]:
    """A service in front of a faulty upstream."""
    log = tmp_path_factory.mktemp('clients') / 'service.log'
    with FaultyUpstream() as upstream:
        settings = {'UPSTREAM': upstream.url}
        with Service(log, workers=2, settings=settings) as service:
            watch_module(service)
            yield service, upstream


def begun(
    faulty: tuple[Service, FaultyUpstream], client: str, conv_id: str, stack: ExitStack
) -> tuple[Any, FaultyAnswer, str]:
    """A client that has had the first word of its answer, and half of an event."""
    service, upstream = faulty
    begin, dialect, _ = CLIENTS[client]
    sample = SAMPLES[dialect]
    answer = upstream.add(
        conv_id, FaultyAnswer(sample.content_type, sample.headers, first=sample.begun)
    )
    texts = iter(begin(service.port, conv_id, conv_id))
    stack.callback(getattr(texts, 'close'))  # noqa: B009
    text = ''
    while 'one' not in text:
        text += next(texts)
    answer.send(sample.events[-1][:30])
    return texts, answer, text


@clients
def test_the_demo_model_speaks_its_dialect(demo: Service, client: str) -> None:
    begin, _, _ = CLIENTS[client]
    texts = list(begin(demo.port, f'demo {client}', ''))
    assert_counted(''.join(texts), WORDS)
    (found,) = demo.client().lookup(f'demo {client}')
    assert found['state'] == 'complete'


@clients
def test_f70_a_failure_raises_what_the_client_has_for_it(
    faulty: tuple[Service, FaultyUpstream], client: str
) -> None:
    with ExitStack() as stack:
        texts, answer, text = begun(faulty, client, f'fails-{client[:4]}', stack)
        answer.fail('reset')
        got = [text]
        with pytest.raises(CLIENTS[client][2], match='upstream broke off the stream'):
            got.extend(texts)
    assert ''.join(got).split() == ['one', 'two']


@clients
def test_f73_a_stop_raises_nothing(
    faulty: tuple[Service, FaultyUpstream], client: str
) -> None:
    conv_id = f'stops-{client.replace(" ", "-")}'
    with ExitStack() as stack:
        texts, _, text = begun(faulty, client, conv_id, stack)
        assert faulty[0].client().delete(path(conv_id)).status == 204
        text += ''.join(texts)
    assert text.split() == ['one', 'two']


def test_the_demo_model_s_answers_in_one_piece(demo: Service) -> None:
    with _openai(demo.port, {}) as ai:
        text = ai.completions.create(model=MODEL, prompt='x', max_tokens=WORDS)
        assert_counted(text.choices[0].text, WORDS)
        response = ai.responses.create(model=MODEL, input='x', max_output_tokens=WORDS)
        assert_counted(response.output_text, WORDS)
        assert response.status == 'completed'
    with _anthropic(demo.port, {}) as claude:
        message = claude.messages.create(
            model=MODEL,
            messages=[{'role': 'user', 'content': 'Count.'}],
            max_tokens=WORDS,
        )
        assert isinstance(message.content[0], anthropic.types.TextBlock)
        assert_counted(message.content[0].text, WORDS)
    with ollama.Client(f'http://127.0.0.1:{demo.port}', timeout=20) as llama:
        # It streams unless it is told not to, which this client always does.
        whole = llama.chat(MODEL, [], options={'num_predict': WORDS})
        assert_counted(whole.message.content or '', WORDS)
        assert whole.done_reason == 'stop'
