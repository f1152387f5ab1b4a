"""One line about each stream, whoever is killed, and wherever it is."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from shmstream import Producer, Streams
from shmstream.logs import life_line
from shmstream.logs.json_lines import JsonLines
from shmstream.metrics.reading import read
from shmstream.ring.ring import RingWriter
from shmstream.stream_end import end_stream
from tests.logs.lines import life, lives, written
from tests.supervisor.conftest import serving, supervised
from tests.support.child import Child, hear, say
from tests.support.dying import die_at, forked
from tests.support.leaks import wait_until

ENDING = (
    *(Producer._end, Producer._publish, Producer._let_go),
    *(end_stream, RingWriter.finish, life_line.tell, life_line.fields_of),
)


@pytest.fixture
def log(directory: Path, tmp_path: Path) -> Iterator[Path]:
    """The file that a supervisor and all producers log to."""
    path = tmp_path / 'log'
    with ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setenv(
            'SHMSTREAM_LOG_FORMAT', 'json'
        )
        file = stack.enter_context(path.open('ab'))
        stack.enter_context(supervised(directory, stderr=file))
        yield path


def log_to(path: str) -> None:
    handler = logging.FileHandler(path)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def end_many(directory: str, log: str) -> None:
    """Die at the first line of ending a stream, then at the second, and so on."""
    generations = []
    for number in itertools.count():
        out, into = os.pipe()
        survived = forked(partial(_end_one, directory, log, number, into))
        os.close(into)
        generations.append(os.read(out, 100).decode())
        os.close(out)
        if survived:
            break
    say(generations)
    hear()


def _end_one(directory: str, log: str, number: int, told_to: int) -> None:
    log_to(log)
    with Streams.attach(directory) as streams:
        producer = streams.create(f'c{number}')
        producer.write(b'data: x\n\n')
        os.write(told_to, producer.generation.encode())
        die_at(number, *ENDING)
        producer.finish()


def test_a_producer_killed_at_any_line_of_its_end_leaves_one_line(
    directory: Path, log: Path
) -> None:
    with Child(end_many, directory, log) as child:
        generations = child.hear()
        found: Counter[str] = Counter()

        def all_there() -> bool:
            found.clear()
            found.update(line['generation'] for line in lives(written(log)))
            return set(found) == set(generations)

        assert wait_until(all_there), set(generations) - set(found)
        child.say('end')
    assert len(generations) > 30
    # Between the line and the note that it is written: there is no way around this.
    assert sorted(found.values())[-2:] in ([1, 1], [1, 2])
    # So it is with the metrics.
    reading = read(directory)
    ended = reading.value('sessions_ended')
    assert ended in (len(generations), len(generations) + 1)
    total = {line['generation']: line['bytes'] for line in lives(written(log))}
    assert reading.value('bytes', 'in') == sum(total.values())
    causes = Counter(line['cause'] for line in lives(written(log)))
    # Some were killed before their end was published, and some after it.
    assert causes['died'] > 5
    assert causes['complete'] > 5


def produce(directory: str, log: str) -> None:
    """Make streams, and go on until killed."""
    log_to(log)
    with Streams.attach(directory) as streams:
        kept = [streams.create(conv_id) for conv_id in ('deleted', 'replaced', 'live')]
        for producer in kept:
            producer.write(b'data: x\n\n')
        say([producer.generation for producer in kept])
        hear()


def test_what_was_deleted_or_replaced_while_its_producer_hung_has_its_line(
    directory: Path, log: Path
) -> None:
    """The stream is in no index any more when its process is killed."""
    with Child(produce, directory, log) as child, Streams.attach(directory) as streams:
        deleted, replaced, live = child.hear()
        child.signal(signal.SIGSTOP)
        streams.evict('deleted')
        with streams.create('replaced'):
            child.kill()
            text = partial(written, log)
            assert life(text, generation=deleted)['cause'] == 'deleted'
            assert life(text, generation=replaced)['cause'] == 'replaced'
            assert life(text, generation=live)['cause'] == 'died'


def test_a_supervisor_that_is_killed_leaves_the_line_to_its_successor(
    directory: Path, log: Path
) -> None:
    with Child(produce, directory, log) as child:
        generations = child.hear()
        first = serving(directory)
        os.kill(first, signal.SIGSTOP)
        child.kill()
        os.kill(first, signal.SIGKILL)
        with log.open('ab') as file, supervised(directory, stderr=file):
            serving(directory, but=first)
            for generation in generations:
                line = life(partial(written, log), generation=generation)
                assert (line['state'], line['cause']) == ('aborted', 'died')


def test_a_process_whose_level_is_off_writes_no_line_and_nobody_does(
    directory: Path, log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Streams.attach(directory) as streams:
        with streams.create('quiet') as quiet:
            quiet.write(b'data: x\n\n')
        with caplog.at_level(logging.INFO, 'shmstream.streams'):
            with streams.create('told') as told:
                told.write(b'data: x\n\n')
            streams.open('told').read()
    (record,) = (r for r in caplog.records if r.name == 'shmstream.streams')
    fields = vars(record)
    assert (fields['generation'], fields['bytes']) == (told.generation, 9)
    assert fields['state'] == fields['cause'] == 'complete'
    assert 'conversation_id=told' in record.getMessage()
    # The supervisor looks at ended streams until they are told: this one is.
    assert life_line.told(quiet._segment)
    assert lives(written(log)) == []


def test_a_supervisor_logs_at_the_level_of_its_starter(streams: Streams) -> None:
    pid = streams.status()['pid']
    command = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    level = logging.getLogger('shmstream').getEffectiveLevel()
    assert command[command.index(b'--log-level') + 1] == b'%d' % level
