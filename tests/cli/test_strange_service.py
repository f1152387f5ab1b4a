"""What a service of another kind answers: a line on stderr, and nothing obeyed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shmstream import Streams
from shmstream.metrics.exposition import from_json, to_json
from shmstream.metrics.reading import read
from tests.support.command import Ran, run


@dataclass
class Strange:
    """A service that answers what a test has it answer."""

    url: str = ''
    status: int = 200
    sessions: Any = None
    metrics: Any = None
    asked: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> Ran:
        return run(*arguments, '--url', self.url, KEY='secret-key')


@pytest.fixture
def strange() -> Iterator[Strange]:
    found = Strange()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            told = found.metrics if 'metrics' in self.path else found.sessions
            body = json.dumps(told).encode()
            self.send_response(found.status)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        found.url = f'http://127.0.0.1:{server.server_port}'
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


ESCAPE = '\x1b]0;owned\x07'


@pytest.mark.parametrize('command', ['ls', 'stats'])
def test_its_words_drive_no_terminal(strange: Strange, command: str) -> None:
    strange.status = 403
    strange.sessions = strange.metrics = {'error': {'message': ESCAPE}}
    ran = strange.run(command)
    assert ran.code == 4
    assert '\\x1b]0;owned\\x07' in ran.err
    assert ESCAPE not in ran.err
    assert 'secret-key' not in ran.err


def test_fields_of_another_kind_are_as_if_they_were_not_there(strange: Strange) -> None:
    told = {'conversation_id': 'x', 'state': 'live', 'worker': ESCAPE}
    huge = {'total_bytes': 10**400, 'started_at': 10**18, 'followers': -1}
    strange.sessions = {'sessions': [told | huge, {**told, 'worker': 7}, ESCAPE]}
    listed = strange.run('ls', '--sort', 'worker')
    assert listed.code == 0
    assert ESCAPE not in listed.out
    assert strange.run('show', 'x', '--json').code == 2
    strange.sessions = {'sessions': [told | huge]}
    assert '1000000000000000000' in strange.run('show', 'x').out
    (facts,) = strange.run('ls', '--json').json()
    assert (facts['worker'], facts['total_bytes'], facts['followers']) == (None, 0, 0)
    assert strange.run('top', '--once', '--interval', '0.1').code == 0


@pytest.mark.parametrize('after', ['a', '', 7, {}])
def test_a_list_without_an_end_is_refused(strange: Strange, after: object) -> None:
    strange.sessions = {'sessions': [], 'next': after}
    ran = strange.run('ls')
    assert (ran.code, 'has no end' in ran.err) == (4, True)
    assert len(strange.asked) <= 2


@pytest.mark.parametrize('command', ['ls', 'stats'])
def test_a_password_in_the_address_is_refused_and_not_told(command: str) -> None:
    ran = run(command, '--url', 'http://user:secret@127.0.0.1:1/')
    assert (ran.code, 'secret' in ran.err) == (2, False)


def _without_a_metric(told: Any) -> None:
    del told['metrics']['shmstream_bytes']


def _without_a_value(told: Any) -> None:
    del told['metrics']['shmstream_bytes']['values']['in']


def _with_a_text(told: Any) -> None:
    told['metrics']['shmstream_appends']['values'][''] = ESCAPE


def _long_ago(told: Any) -> None:
    told['since'] = 1e300


def _fewer_buckets(told: Any) -> None:
    told['metrics']['shmstream_wake_seconds']['histogram']['buckets'].pop()


def _without_workers(told: Any) -> None:
    del told['metrics']['shmstream_workers']


@pytest.mark.parametrize(
    'change',
    [
        _without_a_metric,
        _without_a_value,
        _with_a_text,
        _long_ago,
        _fewer_buckets,
        _without_workers,
    ],
)
def test_metrics_of_another_kind_are_refused(
    strange: Strange,
    streams: Streams,
    directory: Path,
    change: Callable[[Any], None],
) -> None:
    streams.connect()
    good = to_json(read(directory))
    assert to_json(from_json(good)) == good
    strange.metrics = json.loads(good)
    strange.sessions = {'sessions': []}
    assert strange.run('stats').code == 0
    strange.metrics['version'] = ESCAPE
    assert ESCAPE not in strange.run('stats').out
    change(strange.metrics)
    ran = strange.run('stats')
    assert (ran.code, 'of another version' in ran.err) == (4, True)
    still = strange.run('top', '--once', '--interval', '0.1')
    assert 'its numbers cannot be read' in still.out
