"""One service with two keys for all tests of a module, and streams in it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Client, path
from tests.support.command import Ran, run
from tests.support.leaks import wait_until
from tests.support.service import Service

KEYS = ('key-one', 'key-two')


@dataclass
class Place:
    """A service with two keys, and the command line on its directory."""

    service: Service

    @property
    def client(self) -> Client:
        return self.service.client()

    @property
    def directory(self) -> str:
        return str(self.service.directory)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.service.port}'

    def run(self, *arguments: str, answer: str = '') -> Ran:
        """Run a command on the directory."""
        return run(*arguments, answer=answer, DIR=self.directory)

    def ask(self, *arguments: str, key: str = KEYS[0]) -> Ran:
        """Run a command on the URL, with a key."""
        return run(*arguments, '--url', self.url, KEY=key)

    def begin(self, conv_id: str, key: str = KEYS[0], tokens: int = 100_000) -> None:
        """Begin an answer, and hang up once it is there."""
        sent = conv_id.encode().decode('latin-1')
        headers = {'Authorization': f'Bearer {key}', 'X-Conversation-Id': sent}
        body = json.dumps({'stream': True, 'messages': [], 'max_tokens': tokens})
        target = '/v1/chat/completions'
        with self.client.open('POST', target, body.encode(), headers) as live:
            assert live.status == 200, live.rest()
            live.until(400)

    def finished(self, conv_id: str, key: str = KEYS[0]) -> bytes:
        """Make an answer to its end; returns its bytes."""
        self.begin(conv_id, key, tokens=5)
        headers = {'Authorization': f'Bearer {key}'}
        return self.client.call('GET', path(conv_id), headers=headers).body

    def states(self) -> dict[str, str]:
        """The state of each stream, as ``ls`` tells it."""
        found = self.run('ls', '--json').json()
        return {one['conversation_id']: one['state'] for one in found}

    def until(self, conv_id: str, state: str) -> None:
        """Wait until a stream is in this state."""
        assert wait_until(lambda: self.states().get(conv_id) == state)


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The service; its streams of earlier tests may still be there."""
    log = tmp_path_factory.mktemp('cli') / 'service.log'
    settings = {'DEMO_RATE': '200', 'API_KEYS': ','.join(KEYS), 'DRAIN': '0'}
    with Service(log, workers=2, settings=settings) as service:
        yield Place(service)
        assert '[ERROR]' not in service.text(), service.text()


@pytest.fixture
def new_id() -> Callable[[str], str]:
    """Make ids that no other test has."""
    return lambda name: f'{name}-{secrets.token_hex(4)}'


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A file with the first key."""
    file = tmp_path / 'key'
    file.write_text(f'# a comment\n\n{KEYS[0]}\n')
    return file
