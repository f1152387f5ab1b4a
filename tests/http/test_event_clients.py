"""The events route with the clients of Python that people have.

None of them comes back by itself: each raises when it is cut, and is given the last id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import httpx2
import httpx_sse
import pytest
import requests
import sseclient

from tests.http.wire import posted
from tests.support.cutting import Cutting
from tests.support.event_source import Dispatched, address, events_of
from tests.support.service import Service

Read = Callable[[str, dict[str, str]], Iterator[Dispatched]]


def by_httpx_sse(url: str, headers: dict[str, str]) -> Iterator[Dispatched]:
    with (
        httpx.Client() as client,
        httpx_sse.connect_sse(client, 'GET', url, headers=headers) as source,
    ):
        for event in source.iter_sse():
            yield Dispatched(event.event, event.data, event.id)


def by_httpx2(url: str, headers: dict[str, str]) -> Iterator[Dispatched]:
    with httpx2.Client() as client, client.sse(url, headers=headers) as source:
        for event in source:
            yield Dispatched(event.event, event.data, event.id)


def by_sseclient(url: str, headers: dict[str, str]) -> Iterator[Dispatched]:
    with requests.get(url, headers=headers, stream=True, timeout=20) as response:
        for event in sseclient.SSEClient(response.iter_content()).events():
            yield Dispatched(event.event, event.data, event.id or '')


CLIENTS: dict[str, tuple[Read, type[Exception]]] = {
    'httpx-sse': (by_httpx_sse, httpx.RemoteProtocolError),
    'httpx2': (by_httpx2, httpx2.RemoteProtocolError),
    'sseclient-py': (by_sseclient, requests.exceptions.ChunkedEncodingError),
}


@pytest.mark.parametrize('client', CLIENTS)
def test_each_event_comes_once_over_a_cut(demo: Service, client: str) -> None:
    """1. It is cut between two events. 2. The client raises. 3. It resumes."""
    read, cut = CLIENTS[client]
    whole = posted(demo.client(), client, max_tokens=30, tokens_per_second=10_000)
    found: list[Dispatched] = []
    with Cutting(demo.port, b'\n\n', 7) as relay:
        url = f'http://127.0.0.1:{relay.port}{address(client)}'
        with pytest.raises(cut):
            found.extend(read(url, {}))
        cut_at = len(found)
        found += read(url, {'Last-Event-ID': found[-1].id})
    assert 0 < cut_at <= 7
    *events, end = found
    assert [event.data for event in events] == [e.data for e in events_of(whole)]
    assert end.name == 'end'
    assert json.loads(end.data)['state'] == 'complete'
