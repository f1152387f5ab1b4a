"""``GET /_shmstream/sessions``: a key lists its own streams, nobody those of all."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.http.test_api_keys import KEY, OTHER, bearer, post, service
from tests.support.service import Service

__all__ = ['service']

WHERE = '/_shmstream/sessions'


@pytest.fixture(scope='module')
def filled(service: Service) -> Service:
    """Three streams of one key, one of them also another key's."""
    for conv_id, key in (('b', KEY), ('a/ü', KEY), ('c', KEY), ('c', OTHER)):
        headers = conv_id.encode().decode('latin-1')
        with post(service.client(), headers, key) as live:
            live.rest()
    return service


def test_a_key_gets_its_own_streams_page_by_page(filled: Service) -> None:
    client = filled.client()
    page = client.get(WHERE, **bearer(KEY)).json()
    assert [one['conversation_id'] for one in page['sessions']] == ['a/ü', 'b', 'c']
    assert page['next'] is None
    assert all('owner' not in one for one in page['sessions'])
    (same,) = client.get(WHERE, **bearer(OTHER)).json()['sessions']
    assert same['generation'] not in {one['generation'] for one in page['sessions']}
    ids, after = [], ''
    for _ in range(4):
        page = client.get(f'{WHERE}?limit=1&after={quote(after)}', **bearer(KEY)).json()
        ids += [one['conversation_id'] for one in page['sessions']]
        if page['next'] is None:
            break
        after = page['next']
    assert ids == ['a/ü', 'b', 'c']


def test_one_stream_is_found_by_its_id(filled: Service) -> None:
    client = filled.client()
    asked = f'{WHERE}?conv_id={quote("a/ü", safe="")}'
    (found,) = client.get(asked, **bearer(KEY)).json()['sessions']
    looked_up = client.call(
        'POST',
        '/v1/streams/lookup',
        json.dumps({'conversation_ids': ['a/ü']}).encode(),
        bearer(KEY),
    ).json()
    assert looked_up == [{name: found[name] for name in looked_up[0]}]
    assert client.get(asked, **bearer(OTHER)).json()['sessions'] == []


@pytest.mark.parametrize('limit', ['0', '1001', '-1', 'x', '1.0', '٣'])
def test_a_limit_that_is_none_is_refused(filled: Service, limit: str) -> None:
    refused = filled.client().get(f'{WHERE}?limit={quote(limit)}', **bearer(KEY))
    assert (refused.status, refused.error['type']) == (400, 'invalid_request_error')
    assert 'limit' in refused.error['message']


def test_without_a_key_there_is_no_list(filled: Service, demo: Service) -> None:
    assert filled.client().get(WHERE).status == 401
    client = demo.client()
    refused = client.get(WHERE)
    assert (refused.status, 'SHMSTREAM_API_KEYS' in refused.error['message']) == (
        403,
        True,
    )
    with client.post('by its id', {'max_tokens': 3}) as live:
        live.rest()
    (found,) = client.get(f'{WHERE}?conv_id=by%20its%20id').json()['sessions']
    assert found['state'] == 'complete'
