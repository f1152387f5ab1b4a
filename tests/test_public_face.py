"""What a user sees: the public names, no internals, and examples that run."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import os
import textwrap
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import shmstream
import shmstream.asgi
import shmstream.wsgi
from shmstream import Consumer, Follower, Producer, Started, Streams, serving
from shmstream.deploy import hooks
from tests.support.leaks import LeakGuard
from tests.support.service import ROOT, fresh_directory
from tests.support.supervisor import stop
from tests.test_imports import modules

NAMES = (
    *('Consumer', 'Follower', 'Format', 'Producer', 'SourceFailed', 'SseEvent'),
    *('Started', 'State', 'Streams', 'SupervisorConfig', '__version__', 'encoded'),
    'owner_of',
    *('ControlError', 'DirectoryRefused', 'FollowCut', 'InvalidConversationId'),
    *('LayoutMismatch', 'LocalError', 'NoRoom', 'OffsetLost', 'SettingsError'),
    *('ShmstreamError', 'StreamNotFound', 'StreamReplaced', 'SupervisorUnavailable'),
)

MEMBERS: dict[type, str] = {
    Streams: 'astop attach cancel close connect consumer_of create evict followers'
    ' leaving list lookup open open_alias reader_turn start start_in_thread status stop'
    ' withdraw',
    Producer: 'abort begin cancel capacity content_type conv_id drain finish followers'
    ' generation is_cancelled on_cancel state total_bytes write',
    Consumer: 'alias completed_at content_type conv_id dropped_prefix evicted finished'
    ' follow generation kept_headers never_began read started started_at state'
    ' total_bytes untold_failure views',
    Follower: 'close deliver delivered offset over untold_failure',
    Started: 'ajoin consumer content_type conv_id follow generation headers join'
    ' waits_for',
    shmstream.Format: 'content_type headers name',
    shmstream.SseEvent: 'data id name retry_ms',
    shmstream.SupervisorConfig: 'capacity gc_interval_s max_memory max_sessions'
    ' owner_share several_owners ttl_s',
}

INSIDE = ('streams', 'asking', 'attaching', 'producer', 'consumer', 'follower')
DOOR = 'shmstream.internals'
FROM_BELOW = {
    ('shmstream.process.live_producers', '_attachment'),
    ('shmstream.process.live_producers', '_abandon'),
    ('shmstream.process.doorbell_chores', '_look_for_cancel'),
    ('shmstream.process.telling', '_tell'),
}
"""Below the public classes, so they cannot import the door: they have a protocol."""


def test_the_public_names() -> None:
    assert sorted(shmstream.__all__) == sorted(NAMES)
    assert list(shmstream.__all__) == sorted(shmstream.__all__)


@pytest.mark.parametrize('cls', MEMBERS, ids=lambda cls: cls.__name__)
def test_a_public_class_shows_what_users_need(cls: type, streams: Streams) -> None:
    """Of an object too: what ``__init__`` sets is no less to be seen."""
    started = streams.start_in_thread('a', iter(['x']))
    made: list[object] = [
        *(streams, streams.create('b'), started, started.consumer, started.follow()),
        *(shmstream.encoded('text/plain'), shmstream.SseEvent(), _config()),
    ]
    of_this_kind = next(each for each in made if type(each) is cls)
    shown = [name for name in dir(of_this_kind) if not name.startswith('_')]
    assert shown == sorted(MEMBERS[cls].split())


def _config() -> shmstream.SupervisorConfig:
    return shmstream.SupervisorConfig()


def private_names() -> set[str]:
    """The names with ``_`` that the public classes have."""
    found: set[str] = set()
    for name in (*INSIDE, 'producing/started'):
        path = ROOT / 'shmstream' / f'{name}.py'
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and is_own(node):
                found.add(node.attr)
    return {name for name in found if name.startswith('_') and name[1] != '_'}


def is_own(node: ast.Attribute) -> bool:
    """Whether an object asks for its own attribute."""
    of = ast.unparse(node.value)
    return of in ('self', 'cls') or of.startswith('super(')


def test_only_the_door_leads_inside() -> None:
    """No other module uses what begins with ``_`` in a public class."""
    private, used = private_names(), set()
    assert {'_segment', '_attachment', '_process', '_ignore_cancel'} <= private
    for name, path in modules('shmstream').items():
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in private
                and not is_own(node)
            ):
                used.add((name, node.attr))
    assert {each for each in used if each[0] == DOOR}
    others = {each for each in used if each[0] != DOOR}
    assert others == FROM_BELOW | {('shmstream.attaching', '_after_fork')}


# -- examples -------------------------------------------------------------------------

PACKAGES = (
    *('shmstream', 'shmstream.asgi', 'shmstream.wsgi', 'shmstream.serving'),
    'shmstream.deploy.hooks',
)
"""``tests/client/test_documented.py`` does the same for the client."""

NO_EXAMPLE = {
    'shmstream.asgi.Drained.listen',
    'shmstream.wsgi.Body.close',
    *(f'shmstream.deploy.hooks.{name}' for name in ('on_starting', 'post_fork')),
    *(f'shmstream.deploy.hooks.{name}' for name in ('post_worker_init', 'on_exit')),
}
"""What servers call, and users do not."""


def public() -> dict[str, Any]:
    """The public functions, classes and methods, by their names."""
    found: dict[str, Any] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, '__all__', vars(module)):
            thing = getattr(module, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            # A module without ``__all__`` also has what it has imported.
            here = hasattr(module, '__all__') or thing.__module__ == package
            if name.startswith('_') or not here:
                continue
            found[f'{package}.{name}'] = thing
            for method, of in methods(thing).items():
                found[f'{package}.{name}.{method}'] = of
    return {name: found[name] for name in found if name not in NO_EXAMPLE}


def methods(cls: Any) -> dict[str, Any]:
    """The public methods of a class, inherited ones of ours as well."""
    found = {}
    for name in dir(cls) if inspect.isclass(cls) else ():
        method = inspect.getattr_static(cls, name)
        method = getattr(method, '__func__', method)
        ours = str(getattr(method, '__module__', '')).startswith('shmstream')
        if not name.startswith('_') and inspect.isfunction(method) and ours:
            found[name] = method
    return found


def example_of(thing: Any) -> str:
    """The example of a docstring; empty if it has none."""
    _, _, after = (inspect.getdoc(thing) or '').partition('Example::\n')
    return textwrap.dedent(after).strip()


def test_public_things_are_found() -> None:
    names = public()
    assert 'shmstream.Streams.stop' in names
    assert 'shmstream.deploy.hooks.install' in names
    assert len(names) > 60


@pytest.fixture(scope='module')
def deployment() -> Iterator[Path]:
    """A runtime directory with a supervisor, for all examples."""
    guard = LeakGuard(fresh_directory())
    with Streams.attach(guard.directory, supervise=True) as streams:
        streams.connect()
        guard.note()
        supervisor = streams.status()['pid']
        yield guard.directory
    stop(supervisor)
    guard.check()


@pytest.fixture
def given(
    deployment: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What examples take for granted: a stream that has ended, and a live one."""
    monkeypatch.setenv('SHMSTREAM_DIR', str(deployment))

    async def model(prompt: str) -> AsyncIterator[str]:
        for word in prompt.split():
            yield word

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError('nobody asks')

    with Streams.attach() as streams:
        started = streams.start_in_thread('chat-1', iter(['Hello', 'world']))
        assert started.join(30)
        with streams.create('chat-2') as producer:
            yield {
                **vars(shmstream),
                'Application': shmstream.asgi.Application,
                **{'FastAPI': FastAPI, 'StreamingResponse': StreamingResponse},
                **{'asyncio': asyncio, 'os': os},
                **{'threading': threading, 'shmstream': shmstream, 'hooks': hooks},
                **{'streams': streams, 'started': started, 'producer': producer},
                **{'consumer': streams.open('chat-1'), 'model': model, 'app': app},
                **{name: getattr(serving, name) for name in serving.__all__},
            }


def run(source: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run an example, on an event loop if it awaits; returns its names."""
    code = compile(source, name, 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    made = dict(given)
    result = eval(code, made)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    return made


@pytest.mark.parametrize('name', public())
def test_its_example_runs(
    name: str, given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    source = example_of(public()[name])
    assert source, f'{name} has no example'
    made = run(source, name, given)
    if made['app'] is not given['app']:
        (serves_wsgi if 'wsgi' in name else serves_asgi)(made['app'])
    for other in made.values():
        if isinstance(other, Streams) and other is not given['streams']:
            other.close()


def serves_asgi(app: Any) -> None:
    """See that an application answers."""
    headers = {'x-user': 'nobody that has a stream'}
    reply = TestClient(app).get('/chats/chat-1', headers=headers)
    # An empty application has no such path, either.
    assert reply.status_code == 404, reply.text


def serves_wsgi(app: Any) -> None:
    """The same under WSGI, where all but ``Application`` send something."""
    environ: dict[str, Any] = {'PATH_INFO': '/chats/chat-1'}
    environ['HTTP_X_USER'] = 'nobody that has a stream'
    setup_testing_defaults(environ)
    statuses: list[str] = []
    body = app(environ, lambda status, headers: statuses.append(status))
    sent = b''.join(body)
    if isinstance(app, shmstream.wsgi.Application):
        assert statuses[0].startswith('404'), sent
    else:
        assert statuses[0].startswith('200')
        assert b'Hello' in sent


class Question(BaseModel):
    """What the examples of FastAPI are asked."""

    text: str


@pytest.mark.parametrize('name', ['starlette', 'fastapi'])
def test_the_example_of_a_framework_answers(
    name: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f'shmstream.{name}')
    more = {'app': FastAPI(), 'Question': Question, 'Starlette': Starlette}
    made = run(example_of(module), name, given | more | {'Route': Route})
    client = TestClient(made['app'])
    try:
        asked = client.post('/chat/framework', json={'text': 'Hello world'})
        assert asked.text == 'data: Hello\n\ndata: world\n\n'
        assert client.get('/chat/framework?from=13').text == 'data: world\n\n'
    finally:
        made['answers'].streams.close()
