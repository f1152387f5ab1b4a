"""The applications that the pages show, run by the commands that they give."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path

from tests.servers.asgi import AsgiServer
from tests.support.client import Client
from tests.support.event_source import events_of
from tests.support.pages import block
from tests.support.service import Service

FASTAPI = 'docs/applications/fastapi.md'
FLASK = 'docs/applications/flask.md'


class FastApi(AsgiServer):
    def healthy_workers(self) -> set[str]:
        with contextlib.suppress(OSError):
            if self.client().get('/docs').status == 200:
                return {'one of them'}
        return set()


def resumes_and_stops(client: Client) -> None:
    """What the page says that one can do then."""
    asked = b'{"text": "hello"}'
    json = {'Content-Type': 'application/json'}
    with client.open('POST', '/chat/1', asked, json) as post:
        begun = bytes(post.until(100))
        assert begun.startswith(b'data: hello 0\n\ndata: hello 1\n\n')
    # The client has hung up, and the answer goes on.
    with client.open('GET', '/chat/1?as=events') as source:
        first, *_ = events_of(source.until(150))
        assert first.data == 'hello 0'
    with (
        client.open('GET', '/chat/1?from=100') as second,
        client.open('GET', '/chat/1') as third,
    ):
        rest = bytes(second.until(100))
        whole = bytes(third.until(200))
        assert whole[:200] == begun[:100] + rest[:100]
        assert client.delete('/chat/1').status == 204
        for reader in (second, third):
            reader.rest()
            assert reader.whole
    assert client.get('/chat/1').status == 404


def is_a_chat(client: Client) -> None:
    """What ``useChat`` sends, and how it comes back."""
    asked = b'{"id": "chat-1", "messages": ["Hi"], "trigger": "submit-message"}'
    json = {'Content-Type': 'application/json'}
    with client.open('POST', '/api/chat', asked, json) as post:
        begun = bytes(post.until(100))
    with client.open('GET', '/api/chat/chat-1/stream') as resumed:
        assert resumed.headers['x-vercel-ai-ui-message-stream'] == 'v1'
        assert bytes(resumed.until(100))[:100] == begun[:100]
        stopped = client.call('POST', '/api/chat/chat-1/stop', b'{}', json)
        assert stopped.json() == {'success': True}
        resumed.rest()
        assert resumed.whole
    assert client.get('/api/chat/chat-1/stream').status == 204


def test_the_same_in_flask(serve: Callable[..., Service], tmp_path: Path) -> None:
    """By gunicorn with a file of two lines, as the page has it."""
    (tmp_path / 'flask_app.py').write_text(block(FLASK, 'flask_app.py'))
    lines = block('docs/applications/index.md', 'gunicorn.conf.py')
    (tmp_path / 'gunicorn.conf.py').write_text(lines)
    service = serve(
        workers=2,
        config=tmp_path / 'gunicorn.conf.py',
        arguments=('-k', 'gthread', '--threads', '16', 'flask_app:app'),
        ready='Booting worker',
        cwd=tmp_path,
    )
    resumes_and_stops(service.client())


def test_the_first_application_resumes_and_stops_across_workers(
    tmp_path: Path,
) -> None:
    (tmp_path / 'app.py').write_text(
        block(FASTAPI, 'app.py') + block(FASTAPI, 'a chat in app.py')
    )
    # The part before it installs, which has been done.
    _, command = block(FASTAPI, 'run app.py').split(' && ')
    # The next line waits for one worker; which of the two answers does not matter.
    with FastApi(
        'uvicorn',
        tmp_path / 'log',
        command=tuple(shlex.split(command)),
        arguments=('--app-dir', str(tmp_path), '--port', '{port}'),
        workers=1,
    ) as server:
        resumes_and_stops(server.client())
        is_a_chat(server.client())
