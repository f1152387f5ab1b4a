"""API keys, the name spaces they own, stream tokens, CORS."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest

from shmstream.http.api_keys import ApiKeys
from shmstream.serving.permit import Grant
from tests.support.client import Client, Live, path
from tests.support.leaks import processes
from tests.support.service import Service
from tests.support.session_files import stats
from tests.support.upstream import Exchange, Script, ScriptedUpstream

KEY, OTHER = 'key-one-0123456789', 'key-two-9876543210'
PAGE = 'https://chat.example.org'


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp('access') / 'service.log'
    keys = log.with_name('keys')
    keys.write_text(f'# the second key\n{OTHER}\n')
    settings = {
        'API_KEYS': KEY,
        'API_KEYS_FILE': str(keys),
        'CORS_ORIGINS': PAGE,
        'DEMO_RATE': '1000',
    }
    with Service(log, workers=2, settings=settings) as service:
        yield service
        assert 'Traceback' not in service.text()


def bearer(key: str) -> dict[str, str]:
    return {'Authorization': f'Bearer {key}'}


def post(client: Client, conv_id: str, key: str, tokens: int = 5) -> Live:
    return client.post(conv_id, {'max_tokens': tokens}, **bearer(key))


@pytest.mark.parametrize(
    'headers',
    [
        bearer(KEY),
        {'X-Api-Key': KEY},
        {'Api-Key': KEY},
        {'Authorization': 'Bearer the-upstreams', 'X-Api-Key': KEY},
    ],
)
def test_a_key_may_come_as_sdks_send_it(
    service: Service, headers: dict[str, str]
) -> None:
    assert service.client().get('/v1/models', **headers).status == 200


@pytest.mark.parametrize(
    'headers',
    [
        {},
        {'Authorization': ''},
        {'Authorization': KEY},
        {'Authorization': f'Basic {KEY}'},
        {'Authorization': 'Bearer'},
        {'Authorization': f'Bearer {KEY}x'},
        {'Authorization': f'Bearer {KEY[:-1]}'},
        {'Authorization': 'Bearer \xff\xfe'},
        {'X-Api-Key': f'{KEY}x'},
        {'X-Key': KEY},
        {'Api-Key': ''},
    ],
)
@pytest.mark.parametrize(
    ('method', 'target'),
    [
        ('GET', '/v1/models'),
        ('GET', '/v1/stream/a'),
        ('HEAD', '/v1/stream/a'),
        ('DELETE', '/v1/stream/a'),
        ('POST', '/v1/streams/lookup'),
        ('POST', '/v1/chat/completions'),
        ('GET', '/_shmstream/openapi.json'),
        ('GET', '/anything/else'),
    ],
)
def test_without_a_valid_key_everything_is_401(
    service: Service, method: str, target: str, headers: dict[str, str]
) -> None:
    reply = service.client().call(method, target, b'', headers)
    assert reply.status == 401
    assert reply.headers['www-authenticate'] == 'Bearer'
    if method != 'HEAD':
        assert reply.error['type'] == 'authentication_error'


@pytest.mark.parametrize(
    'target', ['/healthz', '/', '/_shmstream/', '/_shmstream/shmstream.js']
)
def test_what_tells_nothing_of_streams_needs_no_key(
    service: Service, target: str
) -> None:
    assert service.client().get(target).status == 200


def test_a_stream_belongs_to_the_key_that_made_it(service: Service) -> None:
    client = service.client()
    with post(client, 'mine', KEY) as live:
        whole = live.rest()
    assert client.get(path('mine'), **bearer(KEY)).body == whole
    assert client.get(path('mine'), **bearer(OTHER)).status == 404
    ids = json.dumps({'conversation_ids': ['mine']}).encode()
    lookup = '/v1/streams/lookup'
    assert len(client.call('POST', lookup, ids, bearer(KEY)).json()) == 1
    assert client.call('POST', lookup, ids, bearer(OTHER)).json() == []
    # The same id under another key is another stream: it replaces and stops nothing.
    with post(client, 'mine', OTHER) as live:
        other = live.rest()
    deleted = client.call('DELETE', path('mine'), headers=bearer(OTHER))
    assert deleted.status == 204
    assert client.get(path('mine'), **bearer(OTHER)).status == 404
    assert client.get(path('mine'), **bearer(KEY)).body == whole != other


def test_a_token_reads_its_stream_and_nothing_else(service: Service) -> None:
    client = service.client()
    with post(client, 'a/b', KEY) as live:
        token = live.headers['stream-token']
        whole = live.rest()
    assert client.get(path('a/b', 10, token=token)).body == whole[10:]
    assert client.get(f'/v1/stream?conv_id=a/b&token={token}').body == whole
    assert client.call('HEAD', path('a/b', token=token)).status == 200
    assert client.delete(path('a/b', token=token)).status == 401
    assert client.get(path('a/c', token=token)).status == 401
    assert client.get(f'/v1/models?token={token}').status == 401
    body = b'{"conversation_ids": ["a/b"]}'
    assert client.call('POST', f'/v1/streams/lookup?token={token}', body).status == 401
    raw = bytearray(base64.urlsafe_b64decode(token + '=='))
    for position in range(0, len(raw), 5):
        raw[position] ^= 1
        forged = base64.urlsafe_b64encode(raw).decode().rstrip('=')
        assert client.get(path('a/b', token=forged)).status == 401
        raw[position] ^= 1
    for nonsense in ('', 'x', 'é', token[:-1], token * 2, '%00', 'A' * 10_000):
        assert client.get(path('a/b', token=nonsense)).status in (401, 414)


def test_a_token_ends_with_its_stream(service: Service) -> None:
    client = service.client()
    with post(client, 'again', KEY) as live:
        token = live.headers['stream-token']
        live.rest()
    with post(client, 'again', KEY) as live:
        live.rest()
    assert client.get(path('again', token=token)).status == 404


def test_a_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    access = ApiKeys((KEY,))
    owner = access.owner_of_key(KEY.encode())
    assert owner is not None
    token = access.token(owner, 'c', '0123456789abcdef')
    assert token is not None
    assert access.check_token(token, 'c') == Grant(owner, '0123456789abcdef')
    now = __import__('time').time()
    monkeypatch.setattr('time.time', lambda: now + 24 * 3600 + 5)
    assert access.check_token(token, 'c') is None


def test_only_named_origins_may_use_it(service: Service) -> None:
    client = service.client()
    preflight = {
        'Origin': PAGE,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'authorization,x-conversation-id',
    }
    reply = client.call('OPTIONS', '/v1/chat/completions', headers=preflight)
    assert reply.status == 204
    assert reply.headers['access-control-allow-origin'] == PAGE
    asked = preflight['Access-Control-Request-Headers']
    assert reply.headers['access-control-allow-headers'] == asked
    reply = client.get('/v1/models', **bearer(KEY), Origin=PAGE)
    assert reply.headers['access-control-allow-origin'] == PAGE
    assert 'Stream-Offset' in reply.headers['access-control-expose-headers']
    # A page may also read why it was refused.
    refused = client.get('/v1/models', Origin=PAGE)
    assert refused.headers['access-control-allow-origin'] == PAGE
    for origin in ('https://evil.example', 'null', PAGE + '.evil.example'):
        preflight['Origin'] = origin
        reply = client.call('OPTIONS', '/v1/models', headers=preflight)
        assert 'access-control-allow-origin' not in reply.headers
        reply = client.get('/v1/models', **bearer(KEY), Origin=origin)
        assert 'access-control-allow-origin' not in reply.headers


def test_the_upstream_neither_sees_our_keys_nor_opens_our_door(
    serve: Callable[..., Service], upstream: Callable[[Script], ScriptedUpstream]
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.reply(200, b'{}', ('Access-Control-Allow-Origin', '*'))

    behind = upstream(answer)
    settings = {'API_KEYS': KEY, 'UPSTREAM': behind.url}
    client = serve(workers=2, settings=settings).client()
    reply = client.get('/v1/models', **bearer(KEY), Origin='https://evil.example')
    assert reply.status == 200
    assert 'access-control-allow-origin' not in reply.headers
    assert behind.exchanges[-1].header('Authorization') is None


def test_keys_are_in_no_log_title_or_shared_file(service: Service) -> None:
    client = service.client()
    with post(client, 'secret', KEY) as live:
        live.rest()
    files = [p for p in service.directory.rglob('*') if p.is_file()]
    assert any(p.parent.name == 'sessions' for p in files)
    for key in (KEY, OTHER):
        assert key not in service.text()
        for file in files:
            assert key.encode() not in file.read_bytes()
        everybody = processes(str(service.directory))
        for pid in everybody:
            assert key.encode() not in Path(f'/proc/{pid}/cmdline').read_bytes()
    (supervisor,) = service.supervisors()
    environment = Path(f'/proc/{supervisor}/environ').read_bytes()
    assert KEY.encode() not in environment


def test_nothing_of_the_deployment_is_open_to_other_users(service: Service) -> None:
    assert service.directory.stat().st_mode & 0o077 == 0
    bells = Path('/dev/shm').glob('sem.shmstream-*')
    for file, found in stats(chain(service.directory.rglob('*'), bells)):
        assert found.st_mode & 0o077 == 0, file


def test_a_response_belongs_to_the_key_that_made_it(service: Service) -> None:
    """By its ``response.id`` as well: for others only the upstream may know it."""
    client = service.client()
    asked = b'{"stream": true, "input": "x", "max_output_tokens": 3}'
    named = {'X-Conversation-Id': 'response', 'Content-Type': 'application/json'}
    made = client.call('POST', '/v1/responses', asked, bearer(KEY) | named)
    event = json.loads(made.body.partition(b'data: ')[2].partition(b'\n')[0])
    address = f'/v1/responses/{event["response"]["id"]}'
    page = bearer(KEY) | {'Origin': PAGE}
    for method, target in (
        ('GET', address),
        ('GET', address + '?stream=true'),
        ('POST', address + '/cancel'),
    ):
        assert client.call(method, target, b'').status == 401
        other = client.call(method, target, b'', bearer(OTHER))
        assert (other.status, 'demo model' in other.error['message']) == (404, True)
        own = client.call(method, target, b'', page)
        assert own.status == 200
        assert own.headers['access-control-allow-origin'] == PAGE
        foreign = page | {'Origin': 'https://x.org', 'Sec-Fetch-Site': 'cross-site'}
        assert client.call(method, target, b'', foreign).status == 403
