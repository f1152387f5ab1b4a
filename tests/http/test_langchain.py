"""LangChain's ``ChatOpenAI``, for Python and for Node: the header goes with each call.

The stream is found by its id meanwhile, and a stop of it raises nothing in them.
"""

from __future__ import annotations

from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.http.proxied import Feed, Proxied
from tests.support.node import Script, needs_node

_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"%b"},'
    b'"finish_reason":%b}]}\n\n'
)


def said(text: bytes, reason: bytes = b'null') -> bytes:
    """A chunk of OpenAI's format."""
    return _CHUNK % (text, reason)


def replay(proxied: Proxied, conv_id: str) -> Any:
    return proxied.client.get(f'/v1/stream/{conv_id}')


@pytest.fixture
def feed(proxied: Proxied) -> Feed:
    """What answers the request that comes, which names no feed."""
    feed = proxied.feed(first=said(b'one '))
    proxied.script = feed
    return feed


def finish(feed: Feed) -> None:
    feed.send(said(b'two', b'"stop"') + b'data: [DONE]\n\n')
    feed.end()


@pytest.mark.parametrize('stopped', [False, True], ids=['ends', 'is_stopped'])
def test_the_header_goes_with_a_call(
    proxied: Proxied, feed: Feed, *, stopped: bool
) -> None:
    model = ChatOpenAI(
        model='m',
        base_url=f'http://127.0.0.1:{proxied.service.port}/v1',
        api_key=SecretStr('any'),
        max_retries=0,
    )
    conv_id = f'python-{stopped}'
    chunks = model.stream('Count.', extra_headers={'X-Conversation-Id': conv_id})
    texts = [str(next(chunks).content)]
    assert proxied.client.lookup(conv_id)[0]['state'] == 'live'
    if stopped:
        assert proxied.client.delete(f'/v1/stream/{conv_id}').status == 204
    else:
        finish(feed)
    texts += [str(chunk.content) for chunk in chunks]
    assert ''.join(texts) == ('one ' if stopped else 'one two')
    if not stopped:
        assert b'two' in replay(proxied, conv_id).body


@needs_node
@pytest.mark.parametrize('stopped', [False, True], ids=['ends', 'is_stopped'])
def test_the_header_goes_with_a_call_of_node(
    proxied: Proxied, feed: Feed, *, stopped: bool
) -> None:
    base = f'http://127.0.0.1:{proxied.service.port}/v1'
    conv_id = f'node-{stopped}'
    with Script('langchain.js', base, conv_id) as script:
        assert script.hear() == 'one '
        assert proxied.client.lookup(conv_id)[0]['state'] == 'live'
        if stopped:
            assert proxied.client.delete(f'/v1/stream/{conv_id}').status == 204
        else:
            finish(feed)
        script.say('go on')
        assert script.hear() == ('one ' if stopped else 'one two')
    if not stopped:
        assert b'two' in replay(proxied, conv_id).body
