"""F18, F19, F32, F36: inodes, descriptors and time run out; others do not notice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.deploy.test_leaving import RATE, begin
from tests.support.client import Client, path
from tests.support.leaks import wait_until
from tests.support.service import ROOT, Service
from tests.support.unshare import needs_unshare


@needs_unshare
def test_f18_without_an_inode_left_a_stream_is_refused() -> None:
    result = subprocess.run(
        ['unshare', '-m', sys.executable, '-m', 'tests.support.few_inodes'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    seen = json.loads(result.stdout.splitlines()[-1])
    assert 5 < seen['made'] < 30
    assert seen['refused'] == [503, '2']
    assert seen['half_made'] == []
    assert (seen['stopped'], seen['again']) == (204, 200)


FEW = 48
"""Descriptors of a worker; some thirty are its own."""


def deleted(client: Client, conv_id: str) -> bool:
    """Whether it could be; a worker without descriptors may drop the call."""
    try:
        return client.delete(path(conv_id)).status == 204
    except ConnectionError:
        return False


def test_f19_out_of_descriptors_a_request_fails_and_the_worker_goes_on(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    config = tmp_path / 'gunicorn.conf.py'
    text = (ROOT / 'gunicorn.conf.py').read_text()
    limit = (
        'def post_fork(server, worker):\n'
        '    import resource\n'
        f'    resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW}, {FEW}))\n\n'
    )
    config.write_text(text.replace('hooks.install(', limit + 'hooks.install('))
    service = serve(workers=2, settings=RATE, config=config)
    client = service.client()
    pids = service.worker_pids()
    live = []
    statuses = set()
    for number in range(60):
        try:
            post = client.open(
                'POST',
                '/v1/chat/completions',
                json.dumps(
                    {'messages': [], 'stream': True, 'max_tokens': 100_000}
                ).encode(),
                {'X-Conversation-Id': f'c{number}'},
                timeout_s=1.0,
            )
        except (TimeoutError, ConnectionError):
            # Not even a descriptor to accept it with.
            statuses.add(0)
            break
        statuses.add(post.status)
        live.append(post)
    assert statuses - {200}
    assert statuses <= {0, 200, 503}
    for number, post in enumerate(live):
        post.close()
        if number % 2:
            assert wait_until(partial(deleted, client, f'c{number}'))
    with begin(client, 'again', tokens=10) as again:
        assert again.rest().endswith(b'[DONE]\n\n')
    assert service.worker_pids() == pids


def test_f32_a_worker_that_hangs_is_aborted_and_so_are_its_streams(
    serve: Callable[..., Service],
) -> None:
    service = serve(
        workers=2,
        settings=RATE,
        arguments=('--timeout', '3', 'tests.support.blocking:app()'),
        expected=('WORKER TIMEOUT', 'Traceback'),
    )
    client = service.client()
    with begin(client, 'hangs', tokens=100_000) as post:
        for _ in range(200):
            live = client.open('GET', path('hangs'))
            if live.worker != post.worker:
                break
            live.close()
        # Whoever takes it hangs: again until it is the producer.
        for _ in range(4):
            before = service.worker_pids()
            with pytest.raises((TimeoutError, ConnectionError)):
                client.open('GET', '/block', timeout_s=1.0)
            assert wait_until(lambda b=before: service.worker_pids() != b, 15)  # type: ignore[misc]
            if post.worker not in service.worker_pids():
                break
        assert wait_until(lambda: post.worker not in service.worker_pids(), 15)
        assert wait_until(lambda: _state(service, 'hangs') == 'aborted', 10)
        live.rest()
        live.close()


def _state(service: Service, conv_id: str) -> str | None:
    try:
        return service.client().call('HEAD', path(conv_id)).headers['stream-state']
    except (ConnectionError, TimeoutError):
        return None


def test_f36_a_stream_that_expires_is_read_to_its_end_by_who_reads_it(
    serve: Callable[..., Service],
) -> None:
    service = serve(
        workers=2,
        settings={'DEMO_RATE': '100000', 'SESSION_TTL': '1', 'GC_INTERVAL': '0.2'},
    )
    client = service.client()
    with client.post('old', {'max_tokens': 8000}) as post:
        whole = post.rest()
    with client.open('GET', path('old')) as slow:
        slow.until(1000)
        gone = time.monotonic()
        assert wait_until(lambda: client.get(path('old', 10**9)).status == 404)
        # Not before its time is over, seen from its end.
        assert time.monotonic() - gone > 0.3
        assert slow.rest() == whole
        assert slow.whole
    assert client.lookup('old') == []
    assert wait_until(lambda: not list((service.directory / 'sessions').iterdir()))
