"""Prometheus itself scrapes the service, and runs what ``deploy/`` has for it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmstream.metrics.catalogue import METRICS
from tests.support.client import path
from tests.support.leaks import wait_until
from tests.support.service import ROOT, Service

DEPLOY = ROOT / 'deploy'
DASHBOARD = json.loads((DEPLOY / 'grafana' / 'shmstream.json').read_text())
ALERTS = DEPLOY / 'prometheus' / 'alerts.yml'
GUIDE = ROOT / 'docs' / 'operations' / 'metrics.md'

needs_prometheus = pytest.mark.skipif(
    shutil.which('prometheus') is None or shutil.which('promtool') is None,
    reason='there is no Prometheus on this machine: .ci/debian installs it',
)

DERIVED = {'workers', 'draining_streams', 'supervisor_up', 'build_info'}
"""Metrics without words of their own."""


def queries() -> list[tuple[str, str]]:
    """Each panel's title, and each of its queries."""
    return [
        (panel['title'], target['expr'])
        for panel in DASHBOARD['panels']
        for target in panel.get('targets', ())
    ]


def plain(query: str) -> str:
    """A query with what Grafana would put in."""
    values = {'$job': 'shmstream', '$instance': '.*'}
    values |= {'$__rate_interval': '1m', '$__range': '5m'}
    for name, value in values.items():
        query = query.replace(name, value)
    assert '$' not in query
    return query


class Prometheus:
    """A Prometheus that scrapes one service four times a second."""

    def __init__(self, folder: Path, target: str) -> None:
        with socket.create_server(('127.0.0.1', 0)) as free:
            self._port = free.getsockname()[1]
        config = (DEPLOY / 'prometheus' / 'prometheus.yml').read_text()
        config = config.replace('127.0.0.1:8000', target)
        config = config.replace('[alerts.yml]', f'[{ALERTS}]')
        every = 'global: {scrape_interval: 250ms, evaluation_interval: 250ms}\n'
        (folder / 'prometheus.yml').write_text(every + config)
        self._log = folder / 'prometheus.log'
        with self._log.open('wb') as log:
            self._process = subprocess.Popen(
                [
                    'prometheus',
                    f'--config.file={folder / "prometheus.yml"}',
                    f'--storage.tsdb.path={folder / "data"}',
                    f'--web.listen-address=127.0.0.1:{self._port}',
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def api(self, what: str, **query: str) -> Any:
        """Ask its HTTP API; an error of the query raises."""
        url = f'http://127.0.0.1:{self._port}/api/v1/{what}'
        with urllib.request.urlopen(f'{url}?{urllib.parse.urlencode(query)}') as reply:
            told = json.load(reply)
        assert told['status'] == 'success', told
        return told['data']

    def result(self, query: str) -> list[Any]:
        """What a query gives now."""
        found: list[Any] = self.api('query', query=query)['result']
        return found

    def comes_to_have(self, query: str) -> bool:
        """Whether a query gives something after some scrapes."""
        return wait_until(lambda: bool(self.result(query)))

    def scrapes(self) -> bool:
        """Whether it has scraped the service twice."""
        if self._process.poll() is not None:
            raise AssertionError(self._log.read_text())
        try:
            found = self.result('count_over_time(up{job="shmstream"}[1m]) > 1')
        except OSError:
            return False
        return bool(found)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@pytest.fixture(scope='module')
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp('prometheus')
    with Service(folder / 'service.log', workers=2) as service:
        client = service.client()
        asked = {'max_tokens': 20, 'tokens_per_second': 100}
        running = Prometheus(folder, f'127.0.0.1:{service.port}')
        try:
            assert wait_until(running.scrapes, 60)
            with client.post('a', asked) as live:
                live.until(1)
                # Of so many readers some are in the other worker, which naps.
                readers = [client.open('GET', path('a', 0)) for _ in range(8)]
                for reader in (live, *readers):
                    reader.rest()
                    reader.close()
            assert client.get(path('a', 5)).status == 200
            yield running
        finally:
            running.stop()


@needs_prometheus
def test_every_query_of_the_dashboard_has_data(prometheus: Prometheus) -> None:
    for title, query in queries():
        assert prometheus.comes_to_have(plain(query)), (title, query)
    # What was done above can be seen, not only that there are series.
    for metric in ('resumes_total{result="ok"}', 'rings_total', 'wake_seconds_count'):
        assert prometheus.comes_to_have(f'shmstream_{metric} > 0'), metric


@needs_prometheus
def test_the_variables_of_the_dashboard_have_values(prometheus: Prometheus) -> None:
    for name in ('job', 'instance'):
        assert prometheus.api(f'label/{name}/values')


@needs_prometheus
def test_every_alert_is_evaluated_and_none_fires(prometheus: Prometheus) -> None:
    found: list[Any] = []

    def all_evaluated() -> bool:
        groups = prometheus.api('rules')['groups']
        found[:] = [rule for group in groups for rule in group['rules']]
        return all(rule['health'] == 'ok' for rule in found)

    assert wait_until(all_evaluated), found
    assert {rule['state'] for rule in found} == {'inactive'}
    guide = GUIDE.read_text()
    for rule in found:
        annotations = rule['annotations']
        assert annotations.keys() == {'summary', 'description', 'runbook'}
        page, _, anchor = annotations['runbook'].partition('#')
        assert ROOT / page == GUIDE
        assert anchor == rule['name'].lower()
        assert f'### {rule["name"]}\n' in guide
        for metric in set(re.findall(r'shmstream_\w+', rule['query'])):
            assert prometheus.result(metric), metric


@needs_prometheus
def test_each_alert_fires_for_what_it_is_for(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path / 'alerts.yml')
    tests = Path(__file__).parent / 'alerts_fire.yml'
    shutil.copy(tests, tmp_path / 'alerts_fire.yml')
    done = subprocess.run(
        ['promtool', 'test', 'rules', 'alerts_fire.yml'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_whole_and_shows_every_metric() -> None:
    panels = DASHBOARD['panels']
    ids = [panel['id'] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel['gridPos']
        assert at['x'] + at['w'] <= 24
        places = {
            (x, y)
            for x in range(at['x'], at['x'] + at['w'])
            for y in range(at['y'], at['y'] + at['h'])
        }
        assert not places & taken, panel['title']
        taken |= places
        if panel['type'] != 'row':
            assert panel['description']
            assert panel['targets']
            assert panel['fieldConfig']['defaults']['unit']
    shown = set(re.findall(r'shmstream_(\w+)', json.dumps(DASHBOARD)))
    shown = {re.sub('_(total|bucket)$', '', name) for name in shown}
    hidden = {'producers', 'sessions_limit'}
    assert {metric.name for metric in METRICS} - hidden <= shown
    assert shown <= {metric.name for metric in METRICS} | DERIVED


def test_the_guide_has_a_row_for_every_metric() -> None:
    guide = GUIDE.read_text()
    for metric in METRICS:
        name = metric.full_name + ('_total' if metric.kind == 'counter' else '')
        assert f'| `{name}' in guide, name
        for value in metric.values:
            assert f'`{value}`' in guide or not value, value
    for name in DERIVED:
        assert f'| `shmstream_{name}' in guide
