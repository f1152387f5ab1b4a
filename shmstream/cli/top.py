"""``shmstream top``: the streams and the deployment, live on a full screen."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

import click

from shmstream.cli.options import json_option, place_options
from shmstream.cli.outcome import USAGE, Failure
from shmstream.cli.output import coloured, write, write_json
from shmstream.cli.place import Place
from shmstream.cli.top_frame import Frame, Looks
from shmstream.cli.top_view import SORTS, View, draw
from shmstream.errors import ShmstreamError

LEAST_S, MOST_S = 0.1, 3600.0
_STEPS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_PIPE_COLUMNS = 160
_MOST_TEXT = 100


@click.command()
@place_options
@click.option('--once', is_flag=True, help='Write one frame, and end.')
@click.option(
    '--interval',
    metavar='SECONDS',
    type=click.FloatRange(LEAST_S, MOST_S),
    default=2.0,
    show_default=True,
    help='Time from frame to frame. Rates are those of this time.',
)
@click.option(
    '--sort', type=click.Choice(SORTS), default='busy', help='Order of the streams.'
)
@json_option
def command(
    place: Place, once: bool, interval: float, sort: str, as_json: bool
) -> None:
    """Show streams and deployment, live.

    The totals say what the whole deployment does, the table what each stream does. RING
    is how much of a stream's ring is in use; press h for the keys. --once waits for one
    interval, a second at the most, and writes a still frame, also into a pipe.
    """
    view = View(sort=sort, interval_s=interval)
    if as_json and not once:
        raise Failure('--json: only with --once', USAGE)
    if once:
        looks = Looks(place)
        looks.look()
        time.sleep(min(interval, 1.0))
        frame = looks.look()
        if as_json:
            write_json(frame.as_json())
            return
        columns = os.get_terminal_size().columns if sys.stdout.isatty() else 0
        wide = columns or _PIPE_COLUMNS
        lines = draw(frame, view, place.name, place.has_owners, wide, None, coloured())
        for line in lines:
            write(line.rstrip())
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure('top needs a terminal; --once does without', USAGE)
    _live(place, view)


def _live(place: Place, view: View) -> None:
    # The first look is made before the screen is taken, so that an error is seen.
    looks = Looks(place)
    frame = looks.look()
    # Only this module needs a terminal's modes.
    from shmstream.cli.screen import screen

    colour = coloured()
    with screen() as shown:
        # The second look comes soon, because the first one has no rates.
        due = time.monotonic() + min(view.interval_s, 0.5)
        size = shown.size
        while True:
            if shown.size != size:
                size = shown.size
                shown.redraw()
            shown.draw(draw(frame, view, place.name, place.has_owners, *size, colour))
            key = shown.key(due - time.monotonic() if not view.paused else 60.0)
            if key is not None and not press(view, key, size[1]):
                return
            if time.monotonic() >= due and not view.paused:
                frame = _next(looks, frame)
                due = time.monotonic() + view.interval_s


def _next(looks: Looks, frame: Frame) -> Frame:
    try:
        return looks.look()
    except (ShmstreamError, Failure, OSError) as ex:
        # The deployment may be back at the next look.
        return replace(frame, trouble=str(ex))


def press(view: View, key: str, lines: int) -> bool:
    """Do what a key asks for; return False if it asks to end.

    Args:
        view: is changed.
        key: as ``Screen.key`` returns it.
        lines: the lines of the screen.
    """
    if key == 'end of input':
        return False
    if view.typing:
        _type(view, key)
        return True
    page = max(lines - 8, 1)
    moves = {'up': -1, 'down': 1, 'k': -1, 'j': 1, 'page up': -page, 'page down': page}
    moves |= {'home': -view.first, 'end': 1 << 30}
    if key in ('q', 'Q'):
        return False
    if key in moves:
        view.first = max(view.first + moves[key], 0)
    elif key in ('s', 'S'):
        step = 1 if key == 's' else -1
        view.sort = SORTS[(SORTS.index(view.sort) + step) % len(SORTS)]
        view.first = 0
    elif key in ('+', '-'):
        view.interval_s = _step(view.interval_s, 1 if key == '+' else -1)
    elif key == '/':
        view.typing, view.text = True, ''
    elif key == 'escape':
        view.text, view.help = '', False
    else:
        toggles = {'r': 'backwards', 'l': 'going_on', ' ': 'paused', 'h': 'help'}
        toggles['?'] = 'help'
        if name := toggles.get(key):
            setattr(view, name, not getattr(view, name))
    return True


def _type(view: View, key: str) -> None:
    if key == 'enter':
        view.typing = False
    elif key == 'escape':
        view.typing, view.text = False, ''
    elif key == 'erase':
        view.text = view.text[:-1]
    elif len(key) == 1 and key.isprintable() and len(view.text) < _MOST_TEXT:
        view.text += key
    view.first = 0


def _step(interval_s: float, direction: int) -> float:
    """Return the next longer or shorter interval."""
    if direction > 0:
        return next((step for step in _STEPS_S if step > interval_s), interval_s)
    return next((step for step in _STEPS_S[::-1] if step < interval_s), interval_s)
