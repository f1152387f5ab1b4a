"""``top`` in a real terminal, and as a still frame."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.cli.conftest import KEYS, Place
from tests.support.command import SHMSTREAM, run
from tests.support.leaks import wait_until
from tests.support.terminal import Terminal

NewId = Callable[[str], str]


@contextmanager
def top(place: Place) -> Iterator[Terminal]:
    command = [SHMSTREAM, 'top', '--dir', place.directory, '--interval', '0.2']
    with Terminal(command, columns=110, lines=24) as terminal:
        terminal.until('ID ', 'q quit')
        yield terminal


def row(terminal: Terminal, conv_id: str) -> str:
    return next((line for line in terminal.lines if line.startswith(conv_id)), '')


def test_it_shows_what_happens_and_obeys_its_keys(place: Place, new_id: NewId) -> None:
    live, done, mine = new_id('live'), new_id('done'), new_id('mine 漢字')
    place.begin(live)
    place.finished(done, KEYS[1])
    place.begin(mine, KEYS[1])
    with top(place) as terminal:
        terminal.until('supervisor up', f'{len(place.service.worker_pids())} attached')
        assert wait_until(lambda: '/s' in row(terminal, live), 30)
        assert 'complete' in row(terminal, done)
        assert terminal.style_of('live  ')[0] == 'green'
        assert terminal.style_of('STATE')[1], 'the head of the table is not reversed'
        # Only streams that go on; only ids with a text; all again.
        terminal.press('l')
        terminal.without(done)
        terminal.press('/', *'MINE', '\r')
        terminal.without(live)
        assert row(terminal, mine)
        terminal.press('escape')
        terminal.until(live)
        terminal.press('l')
        terminal.until(done)
        # Orders, both ways round.
        terminal.press('s')
        terminal.until('IDv', 'order id')
        ids = [line.split('  ')[0] for line in terminal.lines[6:] if '-' in line[:20]]
        first = ids[0]
        terminal.press('r')
        terminal.until('ID^', 'reversed')
        assert not terminal.lines[6].startswith(first)
        terminal.press('h')
        terminal.until('only ids with this text')
        terminal.press('h')
        # What does not fit is left out, from what matters least on.
        terminal.resize(44, 8)
        terminal.without('OWNER')
        terminal.until('STATE', 'RATE')
        assert all(len(line) <= 44 for line in terminal.lines)
        terminal.resize(120, 30)
        terminal.until('OWNER')
        terminal.press('q')
        assert terminal.wait() == 0
        assert terminal.restored
        assert b'\x1b[?1049l' in terminal.raw


def test_ctrl_c_and_sigterm_give_the_terminal_back(place: Place) -> None:
    for end, code in (('\x03', 130), (signal.SIGTERM, 143)):
        with top(place) as terminal:
            if isinstance(end, str):
                terminal.press(end)
            else:
                terminal.signal(end)
            assert terminal.wait() == code
            assert terminal.restored
            assert b'\x1b[?25h' in terminal.raw
            assert b'Traceback' not in terminal.raw


def test_no_color_means_none(place: Place) -> None:
    command = [SHMSTREAM, 'top', '--dir', place.directory]
    with Terminal(command, env={'NO_COLOR': '1'}) as terminal:
        terminal.until('STATE')
        assert terminal.style_of('STATE') == ('default', False)
        terminal.press('q')
        assert terminal.wait() == 0


def test_it_says_when_the_supervisor_is_gone_and_when_it_is_back(
    place: Place, new_id: NewId
) -> None:
    conv_id = new_id('reading')
    place.begin(conv_id)
    workers = place.service.worker_pids()
    with top(place) as terminal:
        terminal.until('supervisor up')
        # Stopped workers start no other supervisor.
        for pid in [*workers, place.service.master]:
            os.kill(pid, signal.SIGSTOP)
        try:
            for pid in place.service.supervisors():
                os.kill(pid, signal.SIGKILL)
            terminal.until('NO SUPERVISOR')
            # Reading needs none; stopping does, and says so.
            assert conv_id in place.run('ls').out
            assert place.run('show', conv_id).code == 0
            refused = place.run('stop', conv_id)
            assert (refused.code, refused.out) == (3, '')
            assert 'only a supervisor can stop streams' in refused.err
        finally:
            for pid in [*workers, place.service.master]:
                os.kill(pid, signal.SIGCONT)
        terminal.until('supervisor up')
        terminal.press('q')
        assert terminal.wait() == 0


def test_a_still_frame_goes_into_a_pipe_and_comes_as_json(
    place: Place, new_id: NewId
) -> None:
    conv_id = new_id('still')
    place.begin(conv_id)
    frame = place.run('top', '--once', '--interval', '0.2')
    assert frame.code == 0
    assert '\x1b' not in frame.out
    assert conv_id in frame.out
    told = place.run('top', '--once', '--interval', '0.2', '--json').json()
    (facts,) = (s for s in told['sessions'] if s['conversation_id'] == conv_id)
    assert facts['rate'] > 0
    assert told['states']['live'] >= 1
    assert told['deployment']['memory_used'] > 0
    over = place.ask('top', '--once', '--interval', '0.2', '--json').json()
    assert conv_id in [s['conversation_id'] for s in over['sessions']]
    assert place.run('top').code == 2
    assert run('top', '--once', '--dir', '/nowhere/at/all').code == 3
