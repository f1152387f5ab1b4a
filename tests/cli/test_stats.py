"""``shmstream stats`` where nothing, or not all, is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shmstream import Streams
from shmstream.cli.main import main
from shmstream.cli.stats import FORMATS
from shmstream.metrics.blocks import W_CATALOGUE, Blocks
from shmstream.metrics.reading import read
from tests.support.leaks import wait_until
from tests.support.supervisor import stop


def stats(*arguments: str) -> Any:
    return CliRunner().invoke(main, ['stats', *arguments])


def test_the_table_and_the_texts_show_what_was_done(
    streams: Streams, directory: Path
) -> None:
    with streams.create('a') as producer:
        producer.write(b'data: 1\n\n')
        follower = streams.open('a').follow()
        next(follower)
        assert wait_until(lambda: read(directory).value('followers', 'library') == 1)
    follower.close()
    shown = {kind: stats('--dir', str(directory), '--format', kind) for kind in FORMATS}
    assert all(result.exit_code == 0 for result in shown.values())
    rows = {' '.join(line.split()) for line in shown['table'].output.splitlines()}
    assert {'sessions started 1', 'bytes in 9 B', 'appends 1', 'workers 1'} <= rows
    assert 'shmstream_appends_total 1' in shown['prometheus'].output
    assert shown['openmetrics'].output.endswith('# EOF\n')


def test_it_works_without_a_supervisor_and_says_so(
    streams: Streams, directory: Path
) -> None:
    with streams.create('a') as producer:
        producer.write(b'x')
    stopped = streams.status()['pid']
    os.kill(stopped, signal.SIGSTOP)
    try:
        assert read(directory).supervisor_up, 'it is only slow'
    finally:
        os.kill(stopped, signal.SIGKILL)
    found = []

    def down() -> bool:
        found.append(stats('--dir', str(directory)))
        return 'There is no supervisor now' in found[-1].output

    # Another one is started soon.
    assert wait_until(down) or wait_until(
        lambda: read(directory).value('supervisor_restarts') == 1
    )
    assert found[-1].exit_code == 0
    assert read(directory).value('appends') == 1
    assert wait_until(lambda: read(directory).value('supervisor_restarts') == 1)
    successor = streams.status()['pid']
    streams.close()
    stop(successor)


@pytest.mark.parametrize(
    ('arguments', 'code'),
    [
        (('--dir', '/dev/shm/shmstream-test-nothing'), 3),
        (('--dir', '/dev'), 3),
        (('--url', 'http://127.0.0.1:1'), 3),
        (('--url', 'nonsense'), 2),
        (('--url', 'http://127.0.0.1:1', '--dir', '/'), 2),
        (('--url', 'http://127.0.0.1:1', '--key', 'a\nb'), 2),
        (('--key', 'a'), 2),
        (('--key-file', '/nothing/there', '--url', 'http://127.0.0.1:1'), 2),
    ],
)
def test_exit_codes_mean_something(arguments: tuple[str, ...], code: int) -> None:
    assert stats(*arguments).exit_code == code


def test_another_version_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    Blocks.create(tmp_path / 'counters').words[W_CATALOGUE] = 1
    refused = stats('--dir', str(tmp_path))
    assert refused.exit_code == 4
    assert 'another version' in refused.output


def test_a_directory_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Blocks.create(tmp_path / 'counters')
    assert stats('--dir', str(tmp_path)).exit_code == 4
