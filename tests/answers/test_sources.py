"""The sources that people have (``examples/sources``), under gunicorn's two workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.answers.asgi_deployments import Deployment, deployment
from tests.answers.watched import asks, nothing_in
from tests.producing.scripted import Gate, text
from tests.producing.steered import AFTER, BEFORE
from tests.support.client import Live
from tests.support.leaks import wait_until
from tests.support.matrix import matrix
from tests.support.service import ROOT
from tests.support.supervisor import gone
from tests.support.upstream import Exchange, ScriptedUpstream

SOURCES = (
    'async_generator',
    'blocking_generator',
    'openai_stream',
    'langchain_stream',
    'pydantic_ai_ui',
    'celery_worker',
)
STEERED = 'tests.answers.steered_sources'
APP = f'{STEERED}:app'
ENDS = {'openai_stream': 1, 'pydantic_ai_ui': 1}
"""How often a whole answer says [DONE]."""

CHUNK = (
    '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    '[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}'
)


PREFILL = 'prefill'
"""The name of a gate that holds back the head of the model's response, too."""


def texts(data: bytes) -> list[str]:
    """What the model has said, in whatever format."""
    return [each.decode() for each in re.findall(rb'event \d', data)]


FIRST = [text(number) for number in range(BEFORE)]
WHOLE = [text(number) for number in range(BEFORE + AFTER)]


class Openai:
    """A server of OpenAI's API, steered by the gates.

    Args:
        folder: where the files of the gates are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, exchange: Exchange) -> None:
        """Answer a request, whose prompt is the name of a gate."""
        (message,) = json.loads(exchange.body)['messages']
        gate = Gate(self._folder, message['content'])
        if message['content'] == PREFILL:
            (self._folder / f'{PREFILL}.asked').touch()
            if self._left(exchange, gate):
                return
        exchange.start_stream()
        for number in range(BEFORE):
            exchange.chunk(self._event(number))
        if self._left(exchange, gate):
            return
        for number in range(BEFORE, BEFORE + AFTER):
            exchange.chunk(self._event(number))
        exchange.chunk(b'data: [DONE]\n\n')
        exchange.end()
        gate.note_closed('ended')

    def _left(self, exchange: Exchange, gate: Gate) -> bool:
        """Wait for the gate; returns whether the client has left before."""
        while not gate.is_open():
            if exchange.wait_hang_up(0.01):
                gate.note_closed('hung up')
                return True
        return False

    def _event(self, number: int) -> bytes:
        return f'data: {CHUNK % text(number)}\n\n'.encode()


class Source:
    """An example that is running.

    Args:
        name: which.
        there: the server of its web side.
        environment: of its processes.
    """

    def __init__(
        self, name: str, there: Deployment, environment: dict[str, str]
    ) -> None:
        self.name = name
        self.there = there
        self._environment = environment
        self._celery: subprocess.Popen[bytes] | None = None

    def begin(self, chat: str) -> Live:
        """POST; returns once the source waits at its gate."""
        target = f'/chat/{chat}?prompt={chat}'
        message = {'id': 'm', 'role': 'user', 'parts': [{'type': 'text', 'text': chat}]}
        asked = {'trigger': 'submit-message', 'id': chat, 'messages': [message]}
        live = self.there.ask(target, asked)
        if live.status == 303:
            live.close()
            live = self.there.client.open('GET', live.headers['location'])
        assert live.status == 200
        self.until_begun(live)
        return live

    def until_begun(self, live: Live) -> None:
        """Read what there is until the source waits at its gate."""
        for _ in live.chunks():
            if texts(bytes(live.body)) == FIRST:
                return
        raise AssertionError(bytes(live.body))

    def gate(self, chat: str) -> Gate:
        """What holds the source back."""
        return self.there.gate(chat)

    def whole(self, data: bytes) -> None:
        """Check that an answer is whole: nothing is missing, nothing is there twice."""
        assert texts(data) == WHOLE
        assert data.count(b'[DONE]') == ENDS.get(self.name, 0)
        assert b'error' not in data
        assert b'"done"' not in data

    def producer(self, live: Live) -> int:
        """The process that produces."""
        return live.worker if self._celery is None else self._celery.pid

    def employ(self) -> None:
        """Start the worker that produces, if it is no web process."""
        if self.name != 'celery_worker':
            return
        script = Path(sys.executable).parent / 'celery'
        command = [sys.executable, str(script), '-A', f'{STEERED}:jobs']
        log = self.there.folder / 'celery.log'
        with log.open('wb') as file:
            self._celery = subprocess.Popen(
                [*command, 'worker', '--pool', 'solo', '--loglevel', 'INFO'],
                env=os.environ | self._environment,
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

        def ready() -> bool:
            assert self._celery is not None
            return ' ready.' in log.read_text() or self._celery.poll() is not None

        if not wait_until(ready, 60) or self._celery.poll() is not None:
            self.dismiss()
            raise AssertionError(log.read_text())

    def dismiss(self) -> None:
        """Stop that worker."""
        if self._celery is not None:
            self._celery.terminate()
            try:
                self._celery.wait(40)
            except subprocess.TimeoutExpired:
                self._celery.kill()
                self._celery.wait()
                raise


@pytest.fixture(scope='module', params=matrix(SOURCES, 'async_generator'))
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Source]:
    """Each example; nothing may block its event loops."""
    folder = tmp_path_factory.mktemp(request.param)
    blocked = folder / 'blocked'
    for name in ('queue', 'control'):
        (folder / name).mkdir()
    with ExitStack() as stack:
        upstream = stack.enter_context(ScriptedUpstream(Openai(folder)))
        environment = {
            'ANSWERS_SOURCE': request.param,
            'OPENAI_BASE_URL': f'{upstream.url}/v1',
            'OPENAI_API_KEY': 'any',
        }
        watched = environment | asks(blocked)
        there = stack.enter_context(deployment('gunicorn', APP, folder, **watched))
        environment |= {
            'ANSWERS_FOLDER': str(folder),
            'SHMSTREAM_DIR': str(there.server.directory),
        }
        yield Source(request.param, there, environment)
    nothing_in(blocked)


@pytest.fixture
def source(running: Source) -> Iterator[Source]:
    """An example, with a worker that produces."""
    running.employ()
    try:
        yield running
    finally:
        running.dismiss()


def test_an_answer_resumes_and_a_second_tab_follows(source: Source) -> None:
    with (
        source.begin('tabs') as live,
        source.there.client.open('GET', '/chat/tabs?from=5') as second,
    ):
        source.until_begun(second)
        source.gate('tabs').open()
        data = live.rest()
        assert live.whole
        assert second.rest() == data[5:]
        assert second.whole
    source.whole(data)
    for _ in range(4):
        assert source.there.client.get('/chat/tabs?from=50').body == data[50:]
    assert wait_until(lambda: source.gate('tabs').closed() == 'ended')


def test_stop_ends_a_silent_source(source: Source) -> None:
    """Readers get a clean end at once, and the source is closed."""
    with (
        source.begin('stop') as live,
        source.there.client.open('GET', '/chat/stop') as second,
    ):
        source.until_begun(second)
        assert source.there.call('DELETE', '/chat/stop').status == 204
        data = live.rest()
        assert live.whole
        assert second.rest() == data
        assert second.whole
    assert texts(data) == FIRST
    assert wait_until(lambda: bool(source.gate('stop').closed()))
    assert source.gate('stop').closed() != 'ended'


@pytest.mark.parametrize('running', matrix(['openai_stream']), indirect=True)
def test_an_answer_is_there_while_the_model_reads_the_prompt(source: Source) -> None:
    """It can be found and stopped, and the stop reaches the model."""
    there, target = source.there, f'/chat/{PREFILL}'
    with there.ask(f'{target}?prompt={PREFILL}', {}) as live:
        assert live.status == 200
        assert there.call('HEAD', target).headers['stream-state'] == 'live'
        assert wait_until((there.folder / f'{PREFILL}.asked').exists)
        assert there.call('DELETE', target).status == 204
        assert live.rest() == b''
        assert live.whole
    assert wait_until(lambda: source.gate(PREFILL).closed() == 'hung up')


def test_a_client_that_leaves_at_once_changes_nothing(source: Source) -> None:
    source.begin('leaves').close()
    source.gate('leaves').open()
    source.whole(source.there.read('/chat/leaves'))
    assert wait_until(lambda: source.gate('leaves').closed() == 'ended')


def test_a_reload_in_mid_answer_loses_nothing(source: Source) -> None:
    """1. HUP while the source is silent. 2. New workers serve. 3. It goes on."""
    service: Any = source.there.server
    before = service.worker_pids()
    with source.begin('reload') as live:
        service.signal(signal.SIGHUP)
        assert wait_until(lambda: len({*service.worker_pids()} - {*before}) == 2)
        source.gate('reload').open()
        data = live.rest()
        if source.name != 'celery_worker':
            assert live.whole
            source.whole(data)
    source.whole(source.there.read('/chat/reload'))


def test_a_killed_producer_is_told_in_band(source: Source) -> None:
    with source.begin('killed') as live:
        producer = source.producer(live)
        with source.there.client.open('GET', '/chat/killed') as second:
            source.until_begun(second)
            os.kill(producer, signal.SIGKILL)
            if source.name == 'celery_worker':
                source.dismiss()
            assert wait_until(lambda: gone(producer))
            # It is cut, to resume, if the worker that has ended served it, too.
            got = second.rest()
            assert texts(got) == FIRST
            assert second.whole == (b'event: error' in got)
            assert second.whole or source.name != 'celery_worker'
        with contextlib.suppress(ConnectionError):
            live.rest()
    data = source.there.read('/chat/killed')
    assert texts(data) == FIRST
    assert b'event: error' in data
