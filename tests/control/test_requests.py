"""Requests on the control socket that no worker of ours would make."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmstream import ControlError, Producer, Streams
from shmstream.control.request import ask
from shmstream.control.wire import encode
from shmstream.memory.directory import RuntimeDirectory
from tests.supervisor.conftest import status
from tests.supervisor.raw import Supervisor, alive, connected, frame, reply, sent

quick = settings(deadline=None, print_blob=True, max_examples=60)


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**31, 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
owners = st.just('00' * 32)
fields = {
    'pid': odd,
    'masters': st.one_of(odd, st.just([])),
    'slot': odd,
    'epoch': odd,
    'owner': st.one_of(odd, owners, owners, owners),
    'id': odd,
    'ids': st.one_of(odd, st.lists(odd, max_size=3)),
    'capacity': odd,
    'generation': odd,
}
# Not join and leave: with the right pid they end a supervisor, as they should.
operations = ['hello', 'create', 'cancel', 'evict', 'lookup', 'list', 'status', 'room']
requests = st.builds(
    lambda op, rest: {'op': op} | rest,
    st.sampled_from(operations),
    st.fixed_dictionaries({}, optional=fields),
)


@pytest.mark.parametrize('pid', [2**22 + 1, 2**31, 2**70])
def test_a_master_that_cannot_be_is_not_waited_for(
    supervisor: Supervisor, pid: int
) -> None:
    for request in (
        {'op': 'join', 'pid': pid},
        {'op': 'hello', 'pid': 1, 'masters': [pid]},
        {'op': 'leave', 'pid': pid},
    ):
        assert sent(supervisor, encode(request))['ok']
        found = status(supervisor[0])
        assert found is not None
        assert found['masters'] == [os.getpid()]


def refused(supervisor: Supervisor, request: Any) -> bool:
    body = json.dumps(request).encode()
    found = sent(supervisor, frame(body))
    return found is None or (not found['ok'] and bool(found['error']))


@given(some=st.lists(requests, min_size=1, max_size=4))
@quick
def test_requests_of_the_wrong_types_do_no_harm(
    supervisor: Supervisor, some: list[dict[str, Any]]
) -> None:
    with connected(supervisor) as sock:
        for request in some:
            try:
                sock.sendall(frame(json.dumps(request).encode()))
            except ConnectionError:
                break
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass
    assert alive(supervisor)
    with Streams.attach(supervisor[0]) as streams:
        for session in streams.list():
            streams.evict(session['conversation_id'])


NOBODY = '00' * 32


@pytest.mark.parametrize(
    'asked',
    [
        {},
        {'op': None},
        {'op': 'constructor'},
        {'op': '_hello'},
        {'op': '\ud800'},
        {'op': 'hello'},
        {'op': 'hello', 'pid': 1, 'masters': 7},
        {'op': 'hello', 'pid': 'x', 'masters': []},
        {'op': 'hello', 'pid': -1, 'masters': []},
        {'op': 'hello', 'pid': 2**64, 'masters': []},
        {'op': 'hello', 'pid': float('inf'), 'masters': []},
        {'op': 'hello', 'pid': 1, 'masters': [-5]},
        {'op': 'hello', 'pid': 1, 'masters': [], 'slot': 'x', 'epoch': 1},
        {'op': 'hello', 'pid': 1, 'masters': [], 'slot': [], 'epoch': 1},
        {'op': 'join'},
        {'op': 'join', 'pid': float('inf')},
        {'op': 'join', 'pid': float('nan')},
        {'op': 'leave', 'pid': 'x'},
        {'op': 'create', 'owner': NOBODY, 'id': 'c'},
        {'op': 'cancel', 'owner': 'zz', 'id': 'c'},
        {'op': 'cancel', 'owner': '00', 'id': 'c'},
        {'op': 'cancel', 'owner': NOBODY},
        {'op': 'lookup', 'owner': NOBODY, 'ids': 5},
        {'op': 'lookup', 'owner': NOBODY},
    ],
    ids=str,
)
def test_what_is_asked_for_wrongly_is_refused(
    supervisor: Supervisor, asked: dict[str, Any]
) -> None:
    assert refused(supervisor, asked)
    assert alive(supervisor)


@pytest.mark.parametrize(
    'wrong',
    [
        {'id': ''},
        {'id': 'x' * 513},
        {'id': 'a\nb'},
        {'id': '\ud800'},
        {'capacity': 0},
        {'capacity': 4095},
        {'capacity': 2**40},
        {'capacity': -1},
        {'capacity': 'large'},
        {'capacity': 8192.5},
        {'capacity': float('nan')},
        {'capacity': True},
        {'owner': NOBODY[2:]},
        {'owner': None},
    ],
    ids=str,
)
def test_a_stream_that_cannot_be_made_leaves_nothing(
    supervisor: Supervisor, wrong: dict[str, Any]
) -> None:
    hello = {'op': 'hello', 'pid': os.getpid(), 'masters': []}
    request = {'op': 'create', 'owner': NOBODY, 'id': 'c', 'capacity': 8192} | wrong
    with connected(supervisor) as sock:
        sock.sendall(frame(json.dumps(hello).encode()))
        assert reply(sock)['ok']
        sock.sendall(frame(json.dumps(request).encode()))
        assert not reply(sock)['ok']
        sock.sendall(encode({'op': 'list'}))
        assert reply(sock)['sessions'] == []
    assert os.listdir(supervisor[0] / 'sessions') == []


def test_hello_is_said_once(supervisor: Supervisor) -> None:
    hello = encode({'op': 'hello', 'pid': os.getpid(), 'masters': []})
    with connected(supervisor) as sock:
        sock.sendall(hello)
        first = reply(sock)
        sock.sendall(hello)
        assert reply(sock) == {
            'ok': False,
            'error': 'ControlError: hello was said already',
        }
        with connected(supervisor) as other:
            other.sendall(hello)
            assert reply(other)['slot'] != first['slot']


def test_what_the_supervisor_refuses_is_an_error_of_the_caller_s(
    supervisor: Supervisor,
) -> None:
    with pytest.raises(ControlError, match='no such operation'):
        ask(RuntimeDirectory(supervisor[0]), 'nonsense')


def test_a_stream_is_described_anew_until_its_producer_has_ended(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For its readers it is done once it is cancelled; its producer may still write."""
    # The doorbell's thread of its process has not had its turn.
    monkeypatch.setattr(Producer, '_look_for_cancel', lambda _: None)
    producer = streams.create('c')
    producer.write(b'some')
    streams.cancel('c')
    (told,) = streams.lookup(['c'])
    assert (told['is_done'], told['total_bytes'], told['completed_at']) == (True, 4, 0)
    producer.finish()
    for _ in range(2):
        (told,) = streams.lookup(['c'])
        assert told['completed_at'] >= told['started_at'] > 0
        assert told['state'] == 'cancelled'
