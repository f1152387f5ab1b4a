"""``Streams.list`` tells what tools need, so that they can stop what they list."""

from __future__ import annotations

import os

from shmstream import Streams, owner_of
from shmstream.ids import NOBODY


def test_what_is_listed_can_be_stopped_whoever_owns_it(streams: Streams) -> None:
    owners = [NOBODY, owner_of('alice'), owner_of('bob')]
    producers = [streams.create('same', owner=owner) for owner in owners]
    listed = streams.list(conv_id='same')
    assert {found['owner'] for found in listed} == set(owners)
    for found in listed:
        assert streams.stop(
            found['conversation_id'],
            generation=found['generation'],
            owner=found['owner'],
        )
    assert {found['state'] for found in streams.list(conv_id='same')} == {'cancelled'}
    assert all(producer.is_cancelled for producer in producers)


def test_pages_and_owners(streams: Streams) -> None:
    carol, dave = owner_of('carol'), owner_of('dave')
    for conv_id in ('c', 'a', 'b'):
        streams.create(conv_id, owner=carol).finish()
    streams.create('b', owner=dave).finish()

    def ids(**asked: object) -> list[str]:
        found = streams.list(**asked)  # type: ignore[arg-type]
        assert {each['owner'] for each in found} <= {carol, dave}
        return [each['conversation_id'] for each in found]

    assert ids(owner=carol, most=2) == ['a', 'b']
    assert ids(owner=carol, after='b') == ['c']
    assert ids(owner=dave) == ['b']
    assert ids(conv_id='b') == ['b', 'b']
    assert ids(conv_id='b', owner=carol) == ['b']
    assert ids(conv_id='c', owner=dave) == []
    assert {(carol, 'a'), (dave, 'b')} <= {
        (each['owner'], each['conversation_id']) for each in streams.list()
    }


def test_it_tells_of_followers_worker_and_memory(streams: Streams) -> None:
    erin = owner_of('erin')
    with streams.create('x', content_type='audio/wav', owner=erin) as producer:
        producer.write(bytes(10_000))
        follower = streams.open('x', owner=erin).follow()
        next(iter(follower))
        (found,) = streams.list(owner=erin)
        follower.close()
    assert (found['followers'], found['content_type']) == (1, 'audio/wav')
    assert found['total_bytes'] == 10_000
    assert found['memory'] >= 10_000
    assert found['worker'] == os.getpid()
