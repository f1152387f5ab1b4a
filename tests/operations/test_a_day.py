"""A day of an operator: only commands, signals and what they say."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, Live
from tests.support.command import SHMSTREAM, Ran, environment, run, start
from tests.support.leaks import processes, wait_until
from tests.support.service import fresh_directory

KEY = 'the-key-of-alice'
END_S = 60.0


class Day:
    """A deployment that commands begin, look at and end."""

    def __init__(self, folder: Path) -> None:
        self.directory = fresh_directory()
        self.log = folder / 'service.log'
        self._keys = folder / 'keys'
        self._keys.write_text(f'{KEY}\nthe-key-of-bob\n')
        self._process: subprocess.Popen[bytes] | None = None
        self.client = Client(0)

    def serve(self) -> None:
        """``shmstream serve``, with keys and little memory."""
        options = ['--bind', '127.0.0.1:0', '--workers', '2']
        options += ['--api-keys-file', str(self._keys), '--session-bytes', '64KiB']
        options += ['--max-memory', '512KiB', '--dir', str(self.directory)]
        with self.log.open('wb') as log:
            self._process = subprocess.Popen(
                [SHMSTREAM, 'serve', *options],
                env=environment(DEMO_RATE='100', OWNER_SHARE='1'),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        assert wait_until(lambda: self.text().count('ASGI server listening') >= 2)
        found = re.search(r'Listening at: http://127.0.0.1:(\d+)', self.text())
        assert found is not None
        self.client = Client(int(found[1]))

    def text(self) -> str:
        """What the service has written."""
        return self.log.read_text(errors='replace')

    def does(self, *arguments: str) -> Ran:
        """A command, on the runtime directory."""
        return run(*arguments, DIR=str(self.directory))

    def told(self, *arguments: str) -> Any:
        """What a command tells in JSON."""
        done = self.does(*arguments, '--json')
        assert done.code == 0, done.err
        return done.json()

    def counted(self, name: str, label: str = '') -> float:
        """A metric, without HTTP."""
        ran = self.does('stats', '--format', 'prometheus')
        assert ran.code == 0, ran.err
        return value_of(ran.out, name, label)

    def asks(self, conv_id: str, tokens: int = 100_000) -> Live:
        """Alice asks a question."""
        body = json.dumps({'stream': True, 'messages': [], 'max_tokens': tokens})
        headers = {'Authorization': f'Bearer {KEY}', 'X-Conversation-Id': conv_id}
        return self.client.open('POST', '/v1/chat/completions', body.encode(), headers)

    def begins(self, conv_id: str) -> int:
        """She asks, and hangs up when the answer has begun; returns its worker."""
        with self.asks(conv_id) as live:
            assert live.status == 200
            live.until(100)
            return live.worker

    def master(self, number: signal.Signals) -> None:
        """Send the service a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def ends(self) -> int:
        """Wait for the service to end; returns its exit code."""
        assert self._process is not None
        return self._process.wait(END_S)

    def everybody(self) -> list[int]:
        """All processes of the deployment."""
        return processes(str(self.directory))


def value_of(text: str, name: str, label: str = '') -> float:
    """A sample of Prometheus' text."""
    for line in text.splitlines():
        sample, _, number = line.rpartition(' ')
        if sample.partition('{')[0] == f'shmstream_{name}' and label in sample:
            return float(number)
    raise AssertionError(f'no {name} {label} in {text}')


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    day = Day(tmp_path)
    yield day
    for pid in day.everybody():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    day.does('clean', '--yes')
    day.ends()


def test_a_day_of_an_operator(day: Day) -> None:
    # He begins.
    assert day.does('ls').code == 3
    assert day.does('doctor').code == 0
    day.serve()
    assert day.does('ls').out == '0 streams\n'

    # He sees an answer, and follows it.
    day.begins('chat-1')
    (seen,) = day.told('ls')
    assert (seen['conversation_id'], seen['state']) == ('chat-1', 'live')
    shown = day.told('show', 'chat-1')
    assert shown['total_bytes'] >= 100
    with start('tail', 'chat-1', '--events', DIR=str(day.directory)) as tail:
        assert tail.stdout is not None
        assert b'chat.completion.chunk' in tail.stdout.readline()
        assert 'chat-1' in day.does('top', '--once').out

        # He stops it by hand, although it belongs to a key.
        assert 'stopped' in day.does('stop', 'chat-1').out
        assert b'cancelled' in tail.stdout.read()
        assert tail.wait(END_S) == 5
    assert day.told('show', 'chat-1')['state'] == 'cancelled'
    assert day.counted('sessions_ended_total', '"cancelled"') == 1

    # Alice fills the memory that her key may have. She is told so.
    refused = None
    for number in range(40):
        with day.asks(f'full-{number}') as live:
            if live.status != 200:
                refused = live.rest()
                assert live.status == 503
                break
            live.until(100)
    assert refused is not None
    assert b'take up' in refused
    assert day.counted('refusals_total', '"owner"') == 1
    assert wait_until(lambda: day.counted('memory_bytes', '"used"') > 256 * 1024)
    evicted = day.does('evict', '--all', '--state', 'live', '--yes')
    assert evicted.code == 0, evicted.err

    # He reloads while an answer is written: it goes on, in the worker that leaves.
    worker = day.begins('reloaded')
    at = day.told('show', 'reloaded')['total_bytes']
    day.master(signal.SIGHUP)
    assert wait_until(lambda: day.text().count('ASGI server listening') >= 4)
    assert wait_until(lambda: day.told('show', 'reloaded')['total_bytes'] > at)
    assert day.told('show', 'reloaded')['worker'] == worker

    # That worker is killed: the stream says so, and so does the log, once.
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: day.told('show', 'reloaded')['state'] == 'aborted')
    assert day.does('tail', 'reloaded').code == 6
    assert day.counted('sessions_ended_total', '"aborted"') >= 1
    generation = day.told('show', 'reloaded')['generation']
    lines = [each for each in day.text().splitlines() if generation in each]
    assert sum('stream ended' in each for each in lines) == 1, lines

    # The supervisor is killed, too, while he asks.
    (supervisor,) = [p for p in day.everybody() if is_supervisor(p)]
    os.kill(supervisor, signal.SIGKILL)
    assert wait_until(lambda: day.counted('supervisor_restarts_total') == 1)

    # Prometheus gets the same from any worker, with a key.
    headers = {'Authorization': f'Bearer {KEY}'}
    for target in ('/_shmstream/metrics', '/healthz', '/_shmstream/ready'):
        answer = day.client.call('GET', target, headers=headers)
        assert answer.status == 200, (target, answer.body)
    text = day.client.call('GET', '/_shmstream/metrics', headers=headers).body.decode()
    assert value_of(text, 'supervisor_restarts_total') == 1

    # He upgrades in place: the streams are there under the new master.
    first = day.told('show', 'reloaded')['generation']
    day.master(signal.SIGUSR2)
    assert wait_until(lambda: day.text().count('ASGI server listening') >= 6)
    day.master(signal.SIGTERM)
    assert day.ends() == 0
    assert day.told('show', 'reloaded')['generation'] == first
    day.begins('upgraded')

    # The machine crashes. What it leaves is found, and removed.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        # Nobody may see another one die, and start a supervisor.
        for pid in day.everybody():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    assert wait_until(lambda: not day.everybody())
    assert 'upgraded' in day.does('ls').out
    assert day.does('stop', 'upgraded').code == 3
    found = str(day.directory)
    assert wait_until(lambda: found in day.does('clean', '--dry-run').out)
    assert day.directory.exists()
    assert day.does('clean', '--yes').code == 0
    assert not day.directory.exists()


def is_supervisor(pid: int) -> bool:
    """Whether this process is the supervisor."""
    return b'shmstream.supervisor' in Path(f'/proc/{pid}/cmdline').read_bytes()
