"""ls, show, tail, stop and evict, on a directory and on a URL."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import KEYS, Place
from tests.support.command import run, start
from tests.support.leaks import wait_until

NewId = Callable[[str], str]


def test_a_directory_shows_the_streams_of_all_owners_and_a_url_those_of_a_key(
    place: Place, new_id: NewId
) -> None:
    same, other = new_id('same'), new_id('other')
    place.begin(same)
    place.begin(same, KEYS[1])
    place.finished(other, KEYS[1])
    place.until(other, 'complete')
    listed = [
        one
        for one in place.run('ls', '--json').json()
        if one['conversation_id'] in (same, other)
    ]
    owners = {one['owner'] for one in listed}
    assert len(listed) == 3
    assert len(owners) == 2
    table = place.run('ls', '--sort', 'id').out
    for owner in owners:
        assert re.search(rf'{same} +live .* \d+ +{owner[:8]}\n', table), table
        chosen = place.run('ls', '--owner', owner[:6], '--json').json()
        assert {one['owner'] for one in chosen} == {owner}
    assert place.run('ls', '--owner', '-').out == '0 streams\n'
    seen = {one['conversation_id'] for one in place.ask('ls', '--json').json()}
    assert same in seen
    assert other not in seen
    assert other in place.ask('ls', key=KEYS[1]).out
    # What the two ways tell of one stream is the same, but for its owner.
    here = place.run('show', other, '--json').json()
    there = place.ask('show', other, '--json', key=KEYS[1]).json()
    for facts in (here, there):
        for name in ('owner', 'headers', 'file', 'url', 'followers', 'worker'):
            facts.pop(name, None)
    assert here == there


def test_an_operator_stops_the_stream_of_the_owner_that_is_named(
    place: Place, new_id: NewId
) -> None:
    conv_id = new_id('whose')
    for key in KEYS:
        place.begin(conv_id, key)
    refused = place.run('stop', conv_id)
    assert refused.code == 2
    owners = re.findall('[0-9a-f]{12}', refused.err)
    assert len(owners) == 2
    assert place.run('stop', conv_id, '--owner', owners[0]).code == 0
    states = {
        one['owner'][:12]: one['state']
        for one in place.run('ls', '--json').json()
        if one['conversation_id'] == conv_id
    }
    assert states == {owners[0]: 'cancelled', owners[1]: 'live'}
    # What was stopped is kept, and told again; what is evicted is gone.
    again = place.run('stop', conv_id, '--owner', owners[0])
    assert (again.code, 'had ended' in again.out) == (0, True)
    for owner in owners:
        done = place.run('evict', conv_id, '--owner', owner, '--json')
        assert done.json()[0]['result'] == 'evicted'
    assert conv_id not in place.states()


def test_several_are_stopped_and_each_is_told_of(place: Place, new_id: NewId) -> None:
    first, second = new_id('one'), new_id('two')
    place.begin(first)
    place.begin(second)
    done = place.run('stop', first, 'no such', second)
    assert done.code == 1
    assert done.out.splitlines() == [
        line for line in done.out.splitlines() if line.endswith(': stopped')
    ]
    assert done.err == 'shmstream: no such: no such stream\n'
    assert {place.states()[one] for one in (first, second)} == {'cancelled'}
    # Over a URL a stop removes, and says so; another's stream is no stream.
    other = new_id('three')
    place.begin(other)
    assert place.ask('stop', other, key=KEYS[1]).code == 1
    assert place.ask('stop', other).out == f'{other}: stopped and removed\n'
    assert other not in place.states()


def test_all_asks_first(place: Place, new_id: NewId) -> None:
    conv_id = new_id('all')
    place.begin(conv_id, KEYS[1])
    (facts,) = (
        one
        for one in place.run('ls', '--json').json()
        if one['conversation_id'] == conv_id
    )
    everything = ('stop', '--all', '--state', 'live', '--owner', facts['owner'])
    asked = place.run(*everything, answer='y\n')
    assert (asked.code, place.states()[conv_id]) == (2, 'live')
    assert '--yes' in asked.err
    assert place.run(*everything, '--yes').code == 0
    assert place.states()[conv_id] == 'cancelled'
    assert place.run('stop').code == place.run('stop', '--all', 'x').code == 2


@pytest.mark.parametrize('where', ['directory', 'url'])
def test_tail_ends_as_the_stream_ends(place: Place, new_id: NewId, where: str) -> None:
    act = place.run if where == 'directory' else place.ask
    done = new_id('done')
    whole = place.finished(done)
    assert act('tail', done).out.encode() == whole
    assert act('tail', done, '--from', '100').out.encode() == whole[100:]
    lines = act('tail', done, '--events').out.splitlines()
    assert [line.split()[1] for line in lines] == ['message'] * len(lines)
    assert lines[-1].split() == [str(len(whole)), 'message', '[DONE]']
    stopped, gone = new_id('stopped'), new_id('gone')
    for conv_id, code in ((stopped, 5), (gone, 7 if where == 'directory' else 5)):
        place.begin(conv_id)
        options = {'DIR': place.directory}
        more = []
        if where == 'url':
            options, more = {'KEY': KEYS[0]}, ['--url', place.url]
        with start('tail', conv_id, *more, **options) as following:
            assert following.stdout is not None
            head = following.stdout.read(200)
            assert head.startswith(b'data: ')
            place.run('stop' if conv_id == stopped else 'evict', conv_id)
            following.stdout.read()
            assert following.wait(60) == code


def test_tail_says_what_the_ring_has_dropped(place: Place, new_id: NewId) -> None:
    # Rings of this service have 4 MiB, so this stream is made without its model.
    from shmstream import Streams

    conv_id = new_id('lost')
    with Streams.attach(place.directory) as streams:
        producer = streams.create(conv_id, capacity=4096)
        for number in range(200):
            producer.write(b'data: %0100d\n\n' % number)
        producer.finish()
        kept = streams.open(conv_id).dropped_prefix
        done = place.run('tail', conv_id)
        assert done.code == 8
        assert (
            done.err == f'shmstream: {kept} bytes are lost, from offset 0 to {kept}\n'
        )
        assert done.out.endswith(f'data: {199:0100d}\n\n')
        # The event that is torn is left out.
        told = place.run('tail', conv_id, '--json')
        events = [line for line in told.out.splitlines() if '"data"' in line]
        assert len(events) == (200 * 108 - kept) // 108
        assert told.out.splitlines()[-1] == (
            f'{{"end": "complete", "lost": {kept}, "failure": ""}}'
        )
        opaque = streams.create(conv_id, content_type='audio/wav')
        opaque.write(b'RIFF')
        opaque.finish()
        assert place.run('tail', conv_id, '--events').code == 2
        streams.evict(conv_id)


def test_the_command_takes_no_slot_and_leaves_nothing_when_it_is_killed(
    place: Place, new_id: NewId
) -> None:
    conv_id = new_id('kill')
    place.begin(conv_id)
    before = sorted(os.listdir(place.directory))
    with start('tail', conv_id, DIR=place.directory) as following:
        assert following.stdout is not None
        following.stdout.read(200)
        facts = place.run('show', conv_id, '--json').json()
        assert facts['followers'] == 0
        assert sorted(os.listdir(place.directory)) == before
        maps = Path(f'/proc/{following.pid}/maps').read_text()
        (line,) = (one for one in maps.splitlines() if place.directory in one)
        assert line.split()[1] == 'r--s', 'the stream could be written'
        following.kill()
        following.wait()
    place.run('evict', conv_id)
    gone = place.service.directory / 'sessions' / f'.gone-{facts["generation"]}'
    assert wait_until(lambda: not gone.exists())


def test_a_reader_that_goes_and_ctrl_c_end_it_quietly(
    place: Place, new_id: NewId
) -> None:
    conv_id = new_id('pipe')
    place.begin(conv_id)
    with start('tail', conv_id, DIR=place.directory) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        following.stdout.read(200)
        following.stdout.close()
        assert (following.wait(60), following.stderr.read()) == (141, b'')
    with start('tail', conv_id, DIR=place.directory) as following:
        assert following.stdout is not None
        assert following.stderr is not None
        following.stdout.read(200)
        following.send_signal(signal.SIGINT)
        following.stdout.read()
        assert (following.wait(60), following.stderr.read()) == (130, b'')
    place.run('evict', conv_id)


def test_what_cannot_be_has_a_line_and_a_code(place: Place, key_file: Path) -> None:
    for arguments, code, words in (
        (('show', 'unknown'), 1, 'unknown: no such stream'),
        (('ls', '--owner', 'x'), 2, '--owner'),
        (('show', 'a\x1b[31m'), 2, 'control character'),
        (('ls', '--key', 'k'), 2, '--url'),
        (('ls', '--url', 'ftp://host'), 2, '--url: must begin with'),
        (('ls', '--url', place.url, '--key', 'two words'), 2, '--key'),
        (('ls', '--url', place.url), 4, '401'),
        (('ls', '--url', place.url, '--key', 'wrong'), 4, '401 Invalid API Key'),
        (('ls', '--url', 'http://127.0.0.1:1'), 3, 'cannot connect'),
        (('ls', '--dir', '/nowhere/at/all'), 3, 'there is no deployment'),
        (('ls', '--dir', '/proc'), 3, 'there is no deployment'),
        (('tail', 'x', '--from', '-1'), 2, '--from'),
        (('nonsense',), 2, 'nonsense'),
    ):
        done = place.run(*arguments)
        assert done.code == code, (arguments, done)
        assert words in done.err, (arguments, done.err)
        assert done.out == ''
    good = place.run('ls', '--url', place.url, '--key-file', str(key_file))
    assert good.code == 0
    # Not private, so somebody else may have made it.
    (key_file.parent / 'sessions').mkdir()
    key_file.parent.chmod(0o755)
    assert place.run('ls', '--dir', str(key_file.parent)).code == 4
    assert run('ls', DIR='relative').code == 2


def test_an_older_service_is_told_in_a_line(
    upstream: Callable[..., object],
) -> None:
    def old(exchange: object) -> None:
        exchange.reply(404, b'{"error": {"message": "Not found"}}')  # type: ignore[attr-defined]

    server = upstream(old)
    done = run('ls', '--url', server.url)  # type: ignore[attr-defined]
    assert done.code == 4
    assert 'no list of streams (404 Not found): it is of another' in done.err
