"""Second names: found wherever the session is, and nowhere once it is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmstream import State, StreamNotFound, Streams, clock, owner_of
from shmstream.dialects.table import CHAT, RESPONSES
from shmstream.ids import NOBODY, usable_alias
from shmstream.internals import note_alias
from shmstream.memory.directory import RuntimeDirectory
from shmstream.ring.layout import W_ASKED, W_ASKED_BOOT, W_CREATED, W_STATE
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Session
from tests.support.registry import fresh_registry, taken_over


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDirectory:
    return RuntimeDirectory(tmp_path / 'run')


@pytest.fixture
def registry(runtime: RuntimeDirectory) -> Registry:
    return fresh_registry(runtime)[0]


def made(
    registry: Registry, conv_id: str, alias: bytes = b'', owner: bytes = NOBODY
) -> Session:
    """A session that has this alias, and no producer."""
    session, locked = registry.create(owner, conv_id, 4096, 0)
    os.close(locked)
    if alias:
        session.segment.set_alias(alias)
    return session


def test_a_session_has_an_alias_as_soon_as_it_is_written(registry: Registry) -> None:
    session = made(registry, 'a')
    assert registry.aliased(NOBODY, 'r') is None
    session.segment.set_alias(b'r')
    assert registry.aliased(NOBODY, 'r') is session
    assert registry.aliased(NOBODY, 'a') is None
    assert registry.aliased(NOBODY, '') is None


def test_an_alias_belongs_to_its_owner(registry: Registry) -> None:
    alice, bob = owner_of('alice'), owner_of('bob')
    hers = made(registry, 'a', b'r', alice)
    assert registry.aliased(bob, 'r') is None
    assert registry.aliased(NOBODY, 'r') is None
    his = made(registry, 'a', b'r', bob)
    assert registry.aliased(alice, 'r') is hers
    assert registry.aliased(bob, 'r') is his


def test_of_several_sessions_the_newest_is_found(
    registry: Registry, runtime: RuntimeDirectory
) -> None:
    older, newer = made(registry, 'b', b'r'), made(registry, 'a', b'r')
    assert registry.aliased(NOBODY, 'r') is newer
    successor = taken_over(runtime).aliased(NOBODY, 'r')
    assert successor is not None
    assert successor.segment.generation == newer.segment.generation
    registry.evict(newer)
    assert registry.aliased(NOBODY, 'r') is older
    registry.evict(older)
    assert registry.aliased(NOBODY, 'r') is None


def test_the_newest_is_newest_whatever_the_wall_clock_says(registry: Registry) -> None:
    older, newer = made(registry, 'a', b'r'), made(registry, 'b', b'r')
    # The clock was set back by an hour meanwhile.
    newer.words[W_CREATED] -= 3600 * clock.NS
    assert registry.aliased(NOBODY, 'r') is newer
    # An earlier boot is older, however long it had been up.
    newer.words[W_ASKED_BOOT] ^= 1
    newer.words[W_ASKED] = clock.now_ns() * 2
    assert registry.aliased(NOBODY, 'r') is older


def test_it_goes_with_its_session(registry: Registry) -> None:
    read, unread = made(registry, 'a', b'r'), made(registry, 'b', b's')
    assert registry.aliased(NOBODY, 'r') is read
    registry.evict(read)
    registry.evict(unread)
    assert registry.aliased(NOBODY, 'r') is None
    assert registry.aliased(NOBODY, 's') is None
    made(registry, 'c', b'r')
    replacing = made(registry, 'c', b't')
    assert registry.aliased(NOBODY, 'r') is None
    assert registry.aliased(NOBODY, 't') is replacing


def test_sessions_without_one_are_not_looked_at_for_ever(registry: Registry) -> None:
    aliases = registry._index.aliases
    sessions = [made(registry, str(number)) for number in range(5)]
    assert registry.aliased(NOBODY, 'r') is None
    assert len(aliases._unread) == 5
    for session in sessions[:3]:
        session.words[W_STATE] = State.COMPLETE
    sessions[3].segment.set_alias(b'r')
    assert registry.aliased(NOBODY, 'r') is sessions[3]
    assert list(aliases._unread) == [sessions[4]]
    for session in sessions:
        registry.evict(session)
    assert not aliases._unread
    assert not aliases._found
    assert not aliases._keys


def test_nor_are_those_of_another_dialect(registry: Registry) -> None:
    aliases = registry._index.aliases
    chat, response, unknown = (made(registry, name) for name in 'abc')
    chat.segment.set_dialect(CHAT.number)
    response.segment.set_dialect(RESPONSES.number)
    assert registry.aliased(NOBODY, 'r') is None
    assert list(aliases._unread) == [response, unknown]
    response.segment.set_alias(b'r')
    assert registry.aliased(NOBODY, 'r') is response


def test_a_session_that_is_kept_has_none_until_it_is_back(streams: Streams) -> None:
    with streams.create('c') as old:
        note_alias(old, b'r')
    assert streams.open_alias('r').generation == old.generation
    new = streams.create('c', pending=True)
    with pytest.raises(StreamNotFound):
        streams.open_alias('r')
    assert streams.withdraw('c', generation=new.generation)
    assert streams.open_alias('r').generation == old.generation
    with streams.create('c') as newer:
        note_alias(newer, b's')
    assert streams.open_alias('s').generation == newer.generation
    with pytest.raises(StreamNotFound):
        streams.open_alias('r')


def test_only_the_first_alias_counts(streams: Streams) -> None:
    with streams.create('twice') as producer:
        note_alias(producer, b'first')
        note_alias(producer, b'second')
    consumer = streams.open('twice')
    assert consumer.alias == 'first'
    assert streams.open_alias('first').generation == consumer.generation


def test_a_successor_finds_it(registry: Registry, runtime: RuntimeDirectory) -> None:
    made(registry, 'a', 'r-é'.encode())
    successor = taken_over(runtime)
    late = successor.find(NOBODY, 'a', None, clock.now_ns())
    assert successor.aliased(NOBODY, 'r-é') is late is not None


@pytest.mark.parametrize(
    ('alias', 'usable'),
    [
        ('resp_1', True),
        ('x' * 440, True),
        ('x' * 441, False),
        ('é' * 221, False),
        ('', False),
        ('a\nb', False),
        ('\ud800', False),
        (None, False),
        (17, False),
        (['resp_1'], False),
    ],
)
def test_what_can_be_an_alias(alias: object, usable: bool) -> None:
    assert (usable_alias(alias) is not None) == usable
