"""Workers that leave on purpose: readers resume elsewhere, answer tasks go on."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import Client, Live, path
from tests.support.leaks import wait_until
from tests.support.resume import ResumingReader
from tests.support.service import Service
from tests.support.supervisor import gone

TOKENS = 150
RATE = {'DEMO_RATE': '50'}


def begin(client: Client, conv_id: str, tokens: int = TOKENS) -> Live:
    """Begin an answer of some seconds, and see its first bytes."""
    post = client.post(conv_id, {'max_tokens': tokens})
    post.until(1000)
    return post


def assert_quiet(service: Service) -> None:
    """Nothing that looks like an accident is in the log."""
    for word in ('Traceback', 'WORKER TIMEOUT', 'without completing', '[CRITICAL]'):
        assert word not in service.text(), service.text()


def test_reload_loses_nothing_and_the_post_goes_on_to_its_end(
    serve: Callable[..., Service],
) -> None:
    """1. Readers and a plain POST client read. 2. HUP. 3. All of them get all of it."""
    service = serve(settings=RATE)
    client = service.client()
    before = set(service.worker_pids())
    with begin(client, 'chat') as post:
        readers = [ResumingReader(client, 'chat') for _ in range(8)]
        for reader in readers:
            assert reader.some.wait(10)
        service.signal(signal.SIGHUP)
        whole = post.rest()
    assert post.whole
    assert whole.endswith(b'data: [DONE]\n\n')
    for reader in readers:
        assert reader.result() == whole
        assert reader.workers[0] in before
        assert len(reader.workers) > 1
        assert reader.workers[-1] not in before
    assert_quiet(service)


def test_a_cut_reader_gets_no_closing_chunk(serve: Callable[..., Service]) -> None:
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'chat') as post, client.open('GET', path('chat')) as live:
        live.until(1000)
        service.signal(signal.SIGHUP)
        live.rest()
        assert live.whole is False
        assert post.rest().startswith(bytes(live.body))


def test_repeated_reloads_under_load_leak_nothing(
    serve: Callable[..., Service],
) -> None:
    service = serve(workers=2, settings=RATE, arguments=('--graceful-timeout', '3'))
    client = service.client()
    (supervisor,) = service.supervisors()
    descriptors = f'/proc/{supervisor}/fd'
    first = 0
    for turn in range(4):
        with begin(client, f'chat-{turn}', tokens=60) as post:
            reader = ResumingReader(client, f'chat-{turn}')
            assert reader.some.wait(10)
            old = set(service.worker_pids())
            service.signal(signal.SIGHUP)
            assert post.rest() == reader.result()
        assert wait_until(lambda old=old: all(gone(pid) for pid in old), 20)  # type: ignore[misc]
        assert service.supervisors() == [supervisor]
        first = first or len(os.listdir(descriptors))
    # One descriptor a session that is still kept, and nothing else. The supervisor may
    # have to notice yet that the last workers have gone.
    assert wait_until(lambda: len(os.listdir(descriptors)) - first <= 3)
    assert_quiet(service)


def test_a_worker_is_recycled_after_max_requests_while_it_streams(
    serve: Callable[..., Service],
) -> None:
    service = serve(
        workers=2,
        settings=RATE,
        arguments=('--max-requests', '10', '--timeout', '8', '--graceful-timeout', '5'),
    )
    client = service.client()
    with begin(client, 'chat', tokens=300) as post:
        first = set(service.worker_pids())
        reader = ResumingReader(client, 'chat')
        assert reader.some.wait(10)
        for _ in range(40):
            assert client.get('/healthz').status in (200, 503)
        assert wait_until(lambda: bool(first - set(service.worker_pids())))
        whole = post.rest()
    assert post.whole
    assert reader.result() == whole
    assert_quiet(service)


def test_workers_come_and_go_with_ttin_and_ttou(serve: Callable[..., Service]) -> None:
    service = serve(workers=2, settings=RATE)
    client = service.client()
    with begin(client, 'chat') as post:
        readers = [ResumingReader(client, 'chat') for _ in range(6)]
        for reader in readers:
            assert reader.some.wait(10)
        service.signal(signal.SIGTTIN)
        assert wait_until(lambda: len(service.worker_pids()) == 3)
        service.signal(signal.SIGTTOU)
        service.signal(signal.SIGTTOU)
        whole = post.rest()
    assert post.whole
    assert {reader.result() for reader in readers} == {whole}
    assert_quiet(service)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_end_of_the_service_is_told_in_band_and_in_time(
    serve: Callable[..., Service], number: signal.Signals
) -> None:
    """1. A long answer runs. 2. The service is stopped. 3. It says so, and ends."""
    service = serve(settings=RATE, arguments=('--graceful-timeout', '3'))
    client = service.client()
    with begin(client, 'chat', tokens=100_000) as post:
        service.signal(number)
        post.rest()
        # Its master gives the worker three seconds; what is asserted is that it ends.
        assert service.wait(20) == 0
    if number is signal.SIGTERM:
        assert post.whole
        assert b'"error"' in post.body[-200:]


def test_an_upgrade_in_place_shares_the_streams(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    """1. USR2: two masters, one supervisor. 2. The old one goes. 3. Streams go on."""
    pidfile = tmp_path / 'pid'
    service = serve(
        workers=2,
        settings=RATE,
        arguments=('--pid', str(pidfile), '--graceful-timeout', '6'),
    )
    client = service.client()
    (supervisor,) = service.supervisors()
    with begin(client, 'before', tokens=100) as post:
        service.signal(signal.SIGUSR2)
        second = Path(f'{pidfile}.2')
        assert wait_until(second.exists, 20)
        successor = int(second.read_text())
        assert wait_until(lambda: service.text().count('ASGI server listening') == 4)
        with begin(client, 'during', tokens=20) as other:
            during = other.rest()
        service.signal(signal.SIGTERM)
        whole = post.rest()
        assert post.whole
    service.wait(30)
    try:
        assert client.get(path('before')).body == whole
        assert client.get(path('during')).body == during
        assert service.supervisors() == [supervisor]
        with begin(client, 'after', tokens=20) as third:
            assert third.rest().endswith(b'[DONE]\n\n')
    finally:
        os.kill(successor, signal.SIGTERM)
        assert wait_until(lambda: gone(successor), 20)


def sockets_of(pid: int) -> set[str]:
    found = set()
    for fd in Path(f'/proc/{pid}/fd').iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(fd))
    return {target for target in found if target.startswith('socket:')}


@pytest.mark.parametrize('preload', [True, False])
def test_workers_share_no_thread_and_no_socket(
    serve: Callable[..., Service], preload: bool
) -> None:
    arguments = ('--preload',) if preload else ()
    service = serve(settings=RATE, arguments=arguments)
    client = service.client()
    with begin(client, 'chat', tokens=20) as post:
        post.rest()
    sockets = [sockets_of(pid) for pid in service.worker_pids()]
    master = sockets_of(service.master)
    # Listening sockets are the master's own; what else a worker has is its own.
    own = [found - master for found in sockets]
    assert all(own)
    assert sum(map(len, own)) == len(set().union(*own))
    assert os.listdir(f'/proc/{service.master}/task') == [str(service.master)]
