"""SIGKILL of any one process, under load: no hang, no damage to other streams (I6)."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shmstream import SupervisorUnavailable
from shmstream.control.request import ask
from shmstream.memory.directory import RuntimeDirectory
from tests.deploy.test_leaving import RATE, begin
from tests.support.client import Client, Live, path
from tests.support.ends import failure
from tests.support.event_source import Source
from tests.support.frozen import freeze
from tests.support.leaks import processes, semaphores, wait_until
from tests.support.patience import Stopwatch
from tests.support.resume import ResumingReader
from tests.support.service import Service
from tests.support.supervisor import gone

ENDED_S = 1.0
"""What is promised; asserted with slack for a machine that does other things too."""
SLACK_S = 4.0


def reader_elsewhere(client: Client, conv_id: str, worker: int) -> Live:
    """A reader that another process than ``worker`` serves."""
    for _ in range(200):
        live = client.open('GET', path(conv_id))
        if live.worker != worker:
            return live
        live.close()
    raise AssertionError('always the same worker')


def test_f07_f08_readers_of_a_killed_producer_are_told_in_band(
    serve: Callable[..., Service],
) -> None:
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'dies') as post:
        for number in range(100):
            other = begin(client, f'lives-{number}')
            if other.worker != post.worker:
                break
            other.close()
        with reader_elsewhere(client, 'dies', post.worker) as live:
            live.until(1000)
            with Stopwatch() as since_the_kill:
                os.kill(post.worker, signal.SIGKILL)
                body = live.rest()
            assert since_the_kill.seconds < ENDED_S + SLACK_S
        assert live.whole
        assert body.endswith(failure('the producer of this stream has died'))
        reply = client.get(path('dies'))
        assert (reply.status, reply.headers['stream-state']) == (200, 'aborted')
        assert reply.body == body
        (described,) = client.lookup('dies')
        assert described['is_done']
        assert described['state'] == 'aborted'
        with other:
            assert other.rest().endswith(b'[DONE]\n\n')
            assert other.whole


def test_f12_a_killed_reader_hurts_nobody(serve: Callable[..., Service]) -> None:
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'chat') as post:
        readers = [ResumingReader(client, 'chat') for _ in range(8)]
        for reader in readers:
            assert reader.some.wait(10)
        served = {reader.workers[0] for reader in readers} - {post.worker}
        os.kill(served.pop(), signal.SIGKILL)
        whole = post.rest()
        assert post.whole
    assert {reader.result() for reader in readers} == {whole}
    assert any(len(reader.workers) > 1 for reader in readers)


def test_f13_a_killed_supervisor_is_replaced_and_streams_do_not_notice(
    serve: Callable[..., Service],
) -> None:
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'chat') as post:
        readers = [ResumingReader(client, 'chat') for _ in range(4)]
        (supervisor,) = service.supervisors()
        os.kill(supervisor, signal.SIGKILL)
        # At once: it waits for the successor, at most two seconds.
        with Stopwatch() as watch:
            new = begin(client, 'new', tokens=10)
        assert watch.seconds < 2.0 + SLACK_S
        with new:
            assert new.rest().endswith(b'[DONE]\n\n')
        assert client.delete(path('new')).status == 204
        assert client.get(path('new')).status == 404
        # Each worker has started one; all but one found the lock taken, and left.
        assert wait_until(lambda: len(service.supervisors()) == 1)
        (successor,) = service.supervisors()
        assert successor != supervisor
        whole = post.rest()
        assert post.whole
    for reader in readers:
        assert reader.result() == whole
        assert len(reader.workers) == 1
    assert client.lookup('chat')[0]['state'] == 'complete'
    assert client.get('/healthz').json()['supervisor']['pid'] == successor


def test_the_supervisor_is_replaced_without_anybody_asking(
    serve: Callable[..., Service],
) -> None:
    service = serve(workers=2)
    (supervisor,) = service.supervisors()
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: bool(set(service.supervisors()) - {supervisor}), 5)


def _kill_the_supervisor(service: Service) -> None:
    for pid in service.supervisors():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize('order', ['worker first', 'supervisor first', 'and again'])
def test_a_worker_and_the_supervisor_killed_at_once(
    serve: Callable[..., Service], order: str
) -> None:
    """The successor aborts what the dead worker was producing, and nothing else.

    So does the successor of a successor that dies as soon as it serves.
    """
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'dies') as post:
        with reader_elsewhere(client, 'dies', post.worker) as live:
            live.until(1000)
            with Stopwatch() as since_the_kill:
                if order == 'worker first':
                    os.kill(post.worker, signal.SIGKILL)
                    _kill_the_supervisor(service)
                elif order == 'supervisor first':
                    _kill_the_supervisor(service)
                    os.kill(post.worker, signal.SIGKILL)
                else:
                    (first,) = service.supervisors()
                    freeze(post.worker)
                    os.kill(first, signal.SIGKILL)
                    assert wait_until(lambda: _serving(service) not in (0, first))
                    _kill_the_supervisor(service)
                    os.kill(post.worker, signal.SIGKILL)
                body = live.rest()
            assert since_the_kill.seconds < 2 * (ENDED_S + SLACK_S)
        assert live.whole
        assert b'"error"' in body[-200:]
    assert client.lookup('dies')[0]['state'] == 'aborted'


def _serving(service: Service) -> int:
    """The supervisor that serves; 0 if there is none."""
    try:
        return int(ask(RuntimeDirectory(service.directory), 'status')['pid'])
    except SupervisorUnavailable:
        return 0


def test_the_events_of_a_killed_producer_end_with_its_error(
    serve: Callable[..., Service],
) -> None:
    service = serve(workers=2, settings=RATE)
    client = service.client()
    with begin(client, 'dies') as post:
        source = Source(client, 'dies')
        os.kill(post.worker, signal.SIGKILL)
        source.run()
    end = source.events[-1]
    told = json.loads(end.data)
    assert (end.name, told['state']) == ('end', 'aborted')
    assert told['error']['message']
    assert 'error' not in {event.name for event in source.events}


def test_f33_nothing_outlives_a_killed_master(serve: Callable[..., Service]) -> None:
    service = serve(workers=2, settings=RATE)
    client = service.client()
    with begin(client, 'chat', tokens=100_000) as post:
        everybody = processes(str(service.directory))
        service.signal(signal.SIGKILL)
        service.wait(5)
        post.rest()
        assert wait_until(lambda: not service.directory.exists())
    assert wait_until(lambda: all(gone(pid) for pid in everybody), 20)
    service.guard.check()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_f22_a_start_after_a_crash_cleans_its_own_directory_and_only_that(
    serve: Callable[..., Service],
) -> None:
    neighbour = serve(workers=2, settings=RATE)
    client = neighbour.client()
    with begin(client, 'theirs', tokens=100) as post:
        crashed = serve(workers=2, settings=RATE)
        with begin(crashed.client(), 'ours', tokens=100_000):
            doorbells = set(semaphores(crashed.directory))
            pids = [*processes(str(crashed.directory)), *crashed.worker_pids()]
            # Stopped first: a supervisor that outlives its master cleans up.
            for act in (freeze, kill):
                for pid in {crashed.master, *pids}:
                    act(pid)
            crashed.wait()
        assert crashed.directory.exists()
        again = serve(workers=2, settings=RATE, directory=crashed.directory)
        reply = again.client().get(path('ours'))
        assert reply.headers['stream-state'] == 'aborted'
        # The dead workers' doorbells go once they have had the time to come back.
        assert doorbells
        assert wait_until(lambda: not doorbells & set(os.listdir('/dev/shm')))
        assert post.rest().endswith(b'[DONE]\n\n')
        assert client.get(path('theirs')).status == 200


def test_f10_a_stopped_producer_is_not_dead(serve: Callable[..., Service]) -> None:
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'chat') as post:
        with reader_elsewhere(client, 'chat', post.worker) as live:
            freeze(post.worker)
            try:
                live.until(1000)
                # Longer than a dead one is given: five looks of the supervisor.
                ended = time.monotonic() + 5
                while time.monotonic() < ended:
                    assert client.lookup('chat')[0]['state'] == 'live'
            finally:
                os.kill(post.worker, signal.SIGCONT)
            assert live.rest() == post.rest()
        assert post.whole


def test_f20_streams_survive_the_removal_of_their_files(
    serve: Callable[..., Service],
) -> None:
    service = serve(settings=RATE)
    client = service.client()
    with begin(client, 'chat') as post:
        with client.open('GET', path('chat')) as live:
            live.until(1000)
            for file in Path(service.directory, 'sessions').iterdir():
                file.unlink()
            assert client.get(path('chat')).status == 404
            # It goes on for who follows it, until the supervisor notices the loss.
            live.rest()
        post.rest()
    with begin(client, 'next', tokens=10) as following:
        assert following.rest().endswith(b'[DONE]\n\n')
