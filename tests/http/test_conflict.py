"""F93: a client that meets our 409 does not ask again."""

from __future__ import annotations

import httpx
import openai
import pytest

from tests.http.wire import posted
from tests.support.client import path
from tests.support.cutting import Cutting
from tests.support.service import Service


def test_f93_openai_s_client_asks_once_for_what_has_been_replaced(
    demo: Service,
) -> None:
    client = demo.client()
    posted(client, 'replaced')
    target = path('replaced', generation='0123456789abcdef')
    reply = client.get(target)
    assert (reply.status, reply.headers['x-should-retry']) == (409, 'false')
    with Cutting(demo.port, b'never') as relay:
        ours = openai.OpenAI(base_url=f'http://127.0.0.1:{relay.port}', api_key='-')
        with ours, pytest.raises(openai.ConflictError, match='replaced'):
            ours.get(target, cast_to=httpx.Response)
    assert len(relay.requests) == 1
