"""``shmstream.flask`` in applications of several shapes, in process."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import flask
import pytest
from werkzeug.test import TestResponse

from shmstream import LocalError, Streams, browser, owner_of
from shmstream.answers import wsgi
from shmstream.deploy.worker_life import WorkerLife
from shmstream.flask import Answers
from shmstream.producing.running import here
from shmstream.serving import Grant, refusal
from shmstream.wsgi import reader_threads

TEXT = b'data: a\n\ndata: b\n\n'


def model() -> Iterator[str]:
    yield from 'ab'


class Source:
    """Notes that it is closed."""

    closed = False

    def __iter__(self) -> Iterator[str]:
        return model()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def app() -> flask.Flask:
    return flask.Flask(__name__)


@pytest.fixture
def answers(app: flask.Flask, streams: Streams) -> Answers:
    """Answers at ``/chat``, of an application that begins them there."""
    made = Answers('/chat', streams=streams)
    app.register_blueprint(made.blueprint)
    app.add_url_rule('/chat/<chat>', 'ask', asks(made), methods=['POST'])
    return made


def asks(answers: Answers) -> Callable[..., Any]:
    """A view that begins an answer."""

    def ask(chat: str, **_: str) -> Any:
        return answers.start(chat, model())

    return ask


def whole(response: TestResponse) -> bytes:
    with response:
        data: bytes = response.data
        return data


def test_an_answer_is_begun_read_looked_up_and_stopped(
    app: flask.Flask, answers: Answers
) -> None:
    client = app.test_client()
    with client.post('/chat/a') as post:
        assert post.headers['Content-Location'] == '/chat/a'
        assert post.headers['Stream-Generation']
        assert post.mimetype == 'text/event-stream'
        assert 'Content-Length' not in post.headers
        assert post.data == TEXT
    assert whole(client.get('/chat/a?from=9')) == TEXT[9:]
    lookup = client.post('/chat/lookup', json={'conversation_ids': ['a']})
    (found,) = lookup.get_json()
    assert found['conversation_id'] == 'a'
    assert client.delete('/chat/a').status_code == 204
    assert client.get('/chat/a').status_code == 404
    assert whole(client.get('/chat/shmstream.js')) == browser.module()


@pytest.mark.parametrize('drained', [False, True], ids=['no hooks', 'hooks'])
def test_who_forgets_the_hooks_is_warned_once(
    app: flask.Flask,
    answers: Answers,
    drained: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The hooks name a life; without one a reload would end the answers."""
    monkeypatch.setattr(here, 'drain', None)
    if drained:
        here.drained_by(WorkerLife(), 1)
    wsgi._warn_once.cache_clear()
    client = app.test_client()
    with caplog.at_level(logging.WARNING, 'shmstream'):
        for chat in ('a', 'b'):
            assert whole(client.post(f'/chat/{chat}')) == TEXT
    assert [each.levelname for each in caplog.records] == ['WARNING'] * (not drained)
    for line in ('from shmstream.deploy import hooks', 'hooks.install(globals())'):
        assert (line in caplog.text) is not drained


TRACE: ContextVar[str] = ContextVar('TRACE', default='none')


def test_a_source_has_the_callers_context_but_not_its_request(
    app: flask.Flask, streams: Streams
) -> None:
    """``permit`` has the request; a source would keep it until the answer's end."""

    def permit(_: flask.Request) -> bytes:
        return owner_of(flask.request.args['user'] + flask.current_app.name)

    def seen() -> Iterator[str]:
        yield f'{TRACE.get()} {flask.has_request_context()} {flask.has_app_context()}'

    answers = Answers('/chat', permit, streams=streams)

    @app.post('/chat/<chat>')
    def ask(chat: str) -> Any:
        TRACE.set('trace-7')
        return answers.start(chat, seen())

    got = whole(app.test_client().post('/chat/a?user=ann'))
    assert got == b'data: trace-7 False False\n\n'
    streams.stop('a', owner=owner_of('ann' + app.name))


def test_the_routes_of_the_application_stay_its_own(
    app: flask.Flask, answers: Answers
) -> None:
    """Whether it has made them before or after the blueprint."""
    own = {
        '/chat': ['GET', 'POST'],
        '/chat/new': ['GET'],
        '/chat/<chat>/title': ['GET', 'DELETE'],
        '/chat/': ['POST'],
    }
    for number, (rule, methods) in enumerate(own.items()):
        view: Any = lambda **_: 'own'  # noqa: E731
        app.add_url_rule(rule, str(number), view, methods=methods)
    client = app.test_client()
    for rule, methods in own.items():
        for method in methods:
            path = rule.replace('<chat>', 'a')
            assert client.open(path, method=method).text == 'own', (method, path)
    allowed = client.options('/chat/a').headers['Allow']
    assert set(allowed.split(', ')) == {'GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST'}


def test_the_address_of_an_answer_is_that_of_its_client(
    app: flask.Flask, streams: Streams
) -> None:
    """Below a mount, a parent's blueprint, and a prefix with parameters."""
    answers = Answers('/rooms/<room>/chat', streams=streams, lookup=None)
    parent = flask.Blueprint('parent', __name__, url_prefix='/api')
    parent.register_blueprint(answers.blueprint)
    app.register_blueprint(parent)
    ask = asks(answers)
    app.add_url_rule('/api/rooms/<room>/chat/<chat>', 'a', ask, methods=['POST'])
    app.add_url_rule('/elsewhere/<chat>', 'b', ask, methods=['POST'])
    client = app.test_client()
    mounted = {'SCRIPT_NAME': '/mounted'}
    with client.post('/api/rooms/7 8/chat/ä', environ_overrides=mounted) as post:
        address = post.headers['Content-Location']
    assert address == '/mounted/api/rooms/7%208/chat/%C3%A4'
    assert whole(client.get(address.removeprefix('/mounted'))) == TEXT
    with client.post('/elsewhere/b') as post:
        assert 'Content-Location' not in post.headers
    assert client.post('/api/rooms/7/chat/lookup').status_code == 200


def test_an_application_has_several_and_several_have_the_same(
    app: flask.Flask, streams: Streams
) -> None:
    first, second = Answers('/a', streams=streams), Answers('/b', streams=streams)
    other = flask.Flask('other')
    app.register_blueprint(first.blueprint)
    app.register_blueprint(second.blueprint)
    other.register_blueprint(first.blueprint, url_prefix='/moved')
    unregistered = Answers('/c', streams=streams)
    app.add_url_rule('/c/<chat>', 'c', asks(unregistered), methods=['POST'])
    for each, answers in ((app, first), (other, first)):
        each.add_url_rule('/ask/<chat>', 'ask', asks(answers), methods=['POST'])
    with app.test_client().post('/ask/x') as post:
        assert post.headers['Content-Location'] == '/a/x'
        assert post.data == TEXT
    with other.test_client().post('/ask/x') as post:
        assert post.headers['Content-Location'] == '/moved/x'
    assert whole(app.test_client().get('/b/x')) == TEXT
    with app.test_client().post('/c/y') as post:
        assert 'Content-Location' not in post.headers


def test_prefixes_that_look_alike_are_told_apart(
    app: flask.Flask, streams: Streams
) -> None:
    prefixes = ['/a-b', '/a_b', '/a/b', '/a.b', '/a%2Eb']
    for number, prefix in enumerate(prefixes):
        answers = Answers(prefix, streams=streams)
        app.register_blueprint(answers.blueprint)
        view = asks(answers)
        app.add_url_rule(f'/ask{number}/<chat>', f'{number}', view, methods=['POST'])
    client = app.test_client()
    for number, prefix in enumerate(prefixes):
        with client.post(f'/ask{number}/x') as post:
            told = post.headers['Content-Location']
            assert post.data == TEXT
        assert told == quote(f'{prefix}/x')
        assert whole(client.get(told)) == TEXT


def test_a_view_adds_to_its_response(app: flask.Flask, answers: Answers) -> None:
    @app.post('/more/<chat>')
    def more(chat: str) -> Any:
        response = answers.start(chat, model(), format='jsonl')
        response.set_cookie('seen', 'yes')
        response.headers['X-More'] = 'yes'
        return response, 201

    with app.test_client().post('/more/a') as post:
        assert (post.status_code, post.headers['X-More']) == (201, 'yes')
        assert 'seen=yes' in post.headers['Set-Cookie']
        assert post.data == b'"a"\n"b"\n'


def test_a_response_that_a_hook_replaces_holds_no_place(
    app: flask.Flask, answers: Answers
) -> None:
    app.after_request(lambda _: flask.Response('replaced'))
    with app.test_client().post('/chat/a') as post:
        assert post.data == b'replaced'
    assert not reader_threads._taken
    assert answers.streams.open('a').conv_id == 'a'


@pytest.mark.parametrize('verdict', ['refused', 'granted', 'aborted', 'broken'])
def test_who_may_not_begin_an_answer_closes_its_source(
    app: flask.Flask, streams: Streams, verdict: str
) -> None:
    def permit(asked: flask.Request) -> Any:
        assert isinstance(asked, flask.Request)
        match verdict:
            case 'refused':
                return refusal(402, 'Pay first')
            case 'granted':
                return Grant(owner_of('alice'), '0' * 16)
            case 'aborted':
                flask.abort(401)
        raise ZeroDivisionError

    answers, source = Answers('/chat', permit, streams=streams), Source()
    app.register_blueprint(answers.blueprint)

    @app.post('/chat/a')
    def ask() -> Any:
        return answers.start('a', source)

    client = app.test_client()
    wanted = {'refused': 402, 'granted': 403, 'aborted': 401, 'broken': 500}[verdict]
    assert client.post('/chat/a').status_code == wanted
    assert source.closed
    assert client.delete('/chat/a').status_code == wanted
    assert client.post('/chat/lookup').status_code == wanted
    got = client.get('/chat/a').status_code
    assert got == (404 if verdict == 'granted' else wanted)


def test_the_mistakes_of_the_application_are_told_to_its_handler(
    app: flask.Flask, answers: Answers
) -> None:
    with app.test_request_context('/chat/a', method='POST'):
        with pytest.raises(LocalError):
            answers.start('a', 'no source')
        with pytest.raises(LocalError):
            answers.start('a', model(), format='none')
    with app.test_client().post('/chat/' + 'a' * 513) as post:
        assert post.status_code == 400


def test_a_head_of_a_live_stream_has_no_length(
    app: flask.Flask, answers: Answers, streams: Streams
) -> None:
    with streams.create('a') as producer:
        producer.write(TEXT)
        head = app.test_client().head('/chat/a')
    assert head.status_code == 200
    assert 'Content-Length' not in head.headers
    assert head.headers['Stream-Total-Bytes'] == str(len(TEXT))


def test_a_stop_whose_body_is_lost_stops_nothing(
    app: flask.Flask, answers: Answers, streams: Streams
) -> None:
    early: list[bool] = []

    @app.before_request
    def read_it_before() -> None:
        if early:
            flask.request.get_data()

    client = app.test_client()

    def stop(body: bytes, **environ: Any) -> int:
        # As gunicorn's: what ends early is short, and raises nothing.
        more = {'wsgi.input': io.BytesIO(body), 'wsgi.input_terminated': True}
        overrides = more | environ
        return client.post('/chat/a/stop', environ_overrides=overrides).status_code

    with streams.create('a') as producer:
        assert stop(b'{}', CONTENT_LENGTH='9') == 400
        assert stop(b'', CONTENT_LENGTH='9') == 400
        assert producer.write(b'data: 1\n\n')
        early.append(True)
        named = b'{"activeStreamId": "%b"}' % (b'0' * 16)
        assert stop(named, CONTENT_LENGTH=str(len(named))) == 200
        assert producer.write(b'data: 2\n\n')
        assert stop(b'{}', CONTENT_LENGTH='2') == 200
        assert not producer.write(b'data: 3\n\n')
