"""What a client has chosen cannot drive an operator's terminal, nor a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from shmstream import Streams
from shmstream.cli.ls import lines_of
from shmstream.cli.words import age, cut, fitted, owner_name, safe, width
from shmstream.inspection.sessions import all_sessions
from shmstream.memory.directory import RuntimeDirectory
from shmstream.sizes import size
from tests.support.command import SHMSTREAM, environment, run
from tests.support.terminal import Terminal


def test_what_a_terminal_obeys_is_spelled_out() -> None:
    assert safe('a\x1b[2J\x9b\n') == 'a\\x1b[2J\\x9b\\n'
    assert safe('\u202eevil \u200b\ud800') == '\\u202eevil \\u200b\\ud800'
    assert safe('ümlaut 漢字 ~') == 'ümlaut 漢字 ~'
    assert safe('a\n\tb', '\n\t') == 'a\n\tb'


def test_widths_are_those_of_a_terminal() -> None:
    assert [width(text) for text in ('abc', '漢字', 'e\u0301')] == [3, 4, 1]
    assert cut('漢字漢字', 5) == '漢字…'
    assert [fitted('漢', 4), fitted('7', 3, right=True)] == ['漢  ', '  7']


def test_sizes_and_spans_are_for_people() -> None:
    told = [size(n) for n in (0, 1023, 1024, 4 << 20, 3 << 50)]
    assert told == ['0 B', '1023 B', '1.0 KiB', '4.0 MiB', '3072.0 TiB']
    spans = [age(s) for s in (-1, 59.9, 61, 3600, 90_000)]
    assert spans == ['0s', '59s', '1m 1s', '1h 0m', '1d 1h']
    assert [owner_name('00' * 32), owner_name('ab' * 32)] == ['-', 'abababab']


BODY = b'data: \x1b]0;owned\x07\xc2\x9b31m\n\n'


def test_a_streams_bytes_are_spelled_out_on_a_terminal_and_unchanged_in_a_pipe(
    streams: Streams, directory: Path
) -> None:
    with streams.create('x') as producer:
        producer.write(BODY)
    where = ('--dir', str(directory))
    assert run('tail', 'x', *where).out.encode() == BODY
    with Terminal([SHMSTREAM, 'tail', 'x', *where]) as terminal:
        assert terminal.wait() == 0
        terminal.until('data: \\x1b]0;owned\\x07\\x9b31m')
        assert b'\x1b' not in terminal.raw
    assert '\x1b' not in run('tail', 'x', '--events', *where).out


@pytest.mark.skipif(shutil.which('bash') is None, reason='needs bash')
def test_a_shell_completes_commands_and_harmless_ids(
    streams: Streams, directory: Path
) -> None:
    for conv_id in ('chat-1', 'chat-2/m', 'chat $(touch x)', 'other'):
        streams.create(conv_id).finish()
    script = (
        'eval "$(shmstream completion bash)"\n'
        'complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=();\n'
        '  _shmstream_completion shmstream; echo "${COMPREPLY[*]}"; }\n'
        'complete_it shmstream ev\n'
        'complete_it shmstream stop chat\n'
        f'SHMSTREAM_DIR=/nowhere complete_it shmstream show --dir {directory} o\n'
        'SHMSTREAM_DIR=/nowhere complete_it shmstream show o\n'
    )
    path = f'{Path(SHMSTREAM).parent}:{os.environ["PATH"]}'
    done = subprocess.run(
        ['bash', '-c', script],
        env=environment(DIR=str(directory)) | {'PATH': path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr == ''
    assert done.stdout.splitlines() == ['evict', 'chat-1 chat-2/m', 'other', '']


def test_the_help_has_the_table_of_exit_codes() -> None:
    text = run('--help').out
    assert '130  interrupted by Ctrl-C' in text
    for name in ('serve', 'ls', 'show', 'tail', 'stop', 'evict', 'top', 'clean'):
        assert f'\n  {name} ' in text
        assert run(name, '--help').code == 0


def test_events_are_shown_where_the_encoding_lacks_a_character(
    streams: Streams, directory: Path
) -> None:
    with streams.create('x') as producer:
        producer.write('data: 漢\n\n'.encode())
    command = [SHMSTREAM, 'tail', 'x', '--events', '--dir', str(directory)]
    env = environment() | {'PYTHONIOENCODING': 'ascii'}
    done = subprocess.run(command, env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, [b'?'])


def test_a_narrow_terminal_shows_ids_and_leaves_columns_out(
    streams: Streams, directory: Path
) -> None:
    for number in range(2):
        streams.create(f'a-long-id-{number}').finish()
    found = all_sessions(RuntimeDirectory(directory)).found
    for columns in (20, 40, 60, 200):
        lines = lines_of(found, True, columns)
        assert all('a-long-id-' in line for line in lines[1:])
        assert all(width(line) <= columns for line in lines)
    assert ('OWNER' in lines_of(found, True, 40)[0]) is False
    assert 'OWNER' in lines_of(found, True, 200)[0]
