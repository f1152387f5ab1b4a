"""What the metrics say of requests, and in which form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shmstream.cli.main import main
from shmstream.metrics.catalogue import METRICS
from tests.http.conftest import Watch
from tests.metrics.scraped import OPENMETRICS, PATH, PROMETHEUS, Scrape, scrape
from tests.support.client import Client, path
from tests.support.leaks import wait_until
from tests.support.service import Service
from tests.support.upstream import Exchange, ScriptedUpstream

KEY = 'the-key-of-this-test'
AUTH = {'Authorization': f'Bearer {KEY}'}
PIECE = b'data: ' + b'x' * 992 + b'\n\n'


def script(exchange: Exchange) -> None:
    if exchange.method == 'GET':
        exchange.reply(200, b'of the upstream')
        return
    asked = json.loads(exchange.body)
    if asked['status'] != 200:
        exchange.reply(asked['status'], b'{}')
        return
    exchange.start_stream()
    for _ in range(asked['pieces']):
        exchange.chunk(PIECE)
    exchange.chunk(b'data: [DONE]\n\n')
    exchange.end()


@pytest.fixture(scope='module')
def service(
    tmp_path_factory: pytest.TempPathFactory, watch_module: Watch
) -> Iterator[Service]:
    log = tmp_path_factory.mktemp('metrics') / 'service.log'
    with ScriptedUpstream(script) as upstream:
        settings = {'UPSTREAM': upstream.url, 'API_KEYS': KEY, 'SESSION_BYTES': '65536'}
        with Service(log, workers=2, settings=settings) as service:
            yield watch_module(service)


def answer(client: Client, conv_id: str, status: int = 200, pieces: int = 1) -> bytes:
    """Have a stream written to its end; returns its bytes."""
    with client.post(conv_id, {'status': status, 'pieces': pieces}, **AUTH) as live:
        assert live.status == status
        return live.rest()


def closed_sets() -> dict[str, set[str]]:
    """The labels that there may be, with their values."""
    found: dict[str, set[str]] = {}
    for metric in METRICS:
        found.setdefault(metric.label, set()).update(metric.values)
    return found


def test_both_texts_say_the_same_to_prometheus_own_parsers(service: Service) -> None:
    client = service.client()
    answer(client, 'a-secret-id')
    client.get(path('a-secret-id', 0), **AUTH)
    told: dict[str, Scrape] = {}

    def the_same() -> bool:
        for kind in (OPENMETRICS, PROMETHEUS):
            told[kind] = scrape(client, kind, **AUTH)
        first, second = told.values()
        # A process may nap between the two.
        return first.samples == second.samples

    assert wait_until(the_same)
    by_name = {family.name: family for family in told[OPENMETRICS].families}
    assert by_name['shmstream_build'].type == 'info'
    assert by_name['shmstream_memory_bytes'].unit == 'bytes'
    for metric in METRICS:
        assert by_name[metric.full_name].type == metric.kind
    closed = closed_sets()
    for one in told.values():
        for _, labels in one.samples:
            for name, value in labels:
                if name not in ('le', 'version'):
                    assert value in closed[name]
        assert 'secret' not in one.text
        assert KEY not in one.text
    assert told[OPENMETRICS].value('sessions_limit') == 4096
    assert told[OPENMETRICS].value('workers') == 2
    assert told[OPENMETRICS].value('supervisor_up') == 1


def test_requests_are_counted_by_what_they_got(service: Service) -> None:
    client = service.client()
    before = scrape(client, **AUTH)

    def grown(name: str, **labels: str) -> float:
        return scrape(client, **AUTH).value(name, **labels) - before.value(
            name, **labels
        )

    whole = answer(client, 'small')
    answer(client, 'large', pieces=100)
    for number in (404, 503):
        answer(client, 'refused', status=number)
    assert grown('upstream_requests_total', code='2xx') == 2
    assert grown('upstream_requests_total', code='4xx') == 1
    assert grown('upstream_requests_total', code='5xx') == 1
    total = len(whole) + 100 * len(PIECE) + 14
    assert grown('bytes_total', direction='in') == total
    assert grown('sessions_ended_total', state='complete') == 2
    assert grown('time_to_first_byte_seconds_count') == 2
    # The followers of both POSTs let go in a turn of the loop after their last byte.
    assert wait_until(lambda: grown('bytes_total', direction='out') == total)

    assert client.get(path('small', 0), **AUTH).status == 200
    assert grown('resumes_total', result='ok') == 0, 'a first read resumes nothing'
    client.get(path('small', 7), **AUTH)
    last = f'{client.get(path("small", 0), **AUTH).headers["stream-generation"]}-0'
    client.get('/v1/events/small', **AUTH, **{'Last-Event-ID': last})
    assert grown('resumes_total', result='ok') == 2
    got = total + 2 * len(whole) + len(whole) - 7 + len(whole)
    assert grown('bytes_total', direction='out') == got

    assert client.get(path('large', 7), **AUTH).status == 400
    assert client.get(path('small', 7, generation='0' * 16), **AUTH).status == 409
    assert client.get(path('nothing', 7), **AUTH).status == 404
    assert client.get(path('nothing'), **AUTH).status == 404
    for result in ('lost', 'replaced', 'unknown'):
        assert grown('resumes_total', result=result) == 1

    assert client.get(path('small')).status == 401
    assert client.call('POST', '/v1/chat/completions', b'{}').status == 401
    assert grown('refusals_total', cause='key') == 2
    client.call('DELETE', '/v1/stream/small', headers=AUTH)
    assert grown('evictions_total', cause='asked') == 1


def test_it_takes_a_key_where_keys_are_set(service: Service) -> None:
    client = service.client()
    assert client.get(PATH).status == 401
    head = client.call('HEAD', PATH, headers=AUTH)
    assert head.status == 200
    assert head.headers['content-type'].startswith('text/plain; version=0.0.4')
    assert head.headers['cache-control'] == 'no-store'
    for accept in ('', 'nonsense', 'image/png', '*/*'):
        found = client.get(PATH, Accept=accept, **AUTH)
        assert found.status == 200
        assert found.headers['content-type'].startswith('text/plain')
    there = client.get('/metrics', **AUTH)
    assert there.body == b'of the upstream', 'the upstream keeps its own path'


def stats(*arguments: str, **variables: str) -> Any:
    return CliRunner().invoke(main, ['stats', *arguments], env=variables)


def test_the_command_says_the_same_by_directory_and_by_url(
    service: Service, tmp_path: Path
) -> None:
    client = service.client()
    answer(client, 'told')
    url = f'http://127.0.0.1:{service.port}'
    key_file = tmp_path / 'key'
    key_file.write_text(f'{KEY}\n')
    ways = (
        stats('--dir', str(service.directory), '--json'),
        stats('--url', f'{url}/', '--json', '--key', KEY),
        stats('--url', url, '--json', '--key-file', str(key_file)),
        stats('--url', url, '--json', SHMSTREAM_KEY=KEY),
    )
    for way in ways:
        assert way.exit_code == 0, way.output
        told = json.loads(way.output)
        assert told['supervisor_up'] is True
        assert len(told['workers']) == 2
        started = told['metrics']['shmstream_sessions_started']['values']
        assert started == {'': scrape(client, **AUTH).value('sessions_started_total')}
    table = stats('--url', url, '--key', KEY)
    assert 'sessions started' in table.output
    assert stats('--url', url).exit_code == 4
    assert stats('--url', url, '--key', 'a', '--key-file', str(key_file)).exit_code == 2
    text = stats('--dir', str(service.directory), '--format', 'openmetrics').output
    assert Scrape(text.rstrip('\n') + '\n', OPENMETRICS).value('workers') == 2
