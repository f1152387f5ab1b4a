"""``shmstream tail``: the bytes of a stream, or its events, until it ends."""

from __future__ import annotations

import codecs
import sys
from typing import Any

import click

from shmstream.cli import outcome
from shmstream.cli.completing import complete_ids
from shmstream.cli.event_lines import EventLines
from shmstream.cli.options import place_options
from shmstream.cli.outcome import Failure
from shmstream.cli.output import note, write, write_json
from shmstream.cli.place import End, Place
from shmstream.cli.selecting import owner_option, the_one
from shmstream.cli.words import counted, safe
from shmstream.inspection.reading import Lost

MAX_OFFSET = (1 << 63) - 1


@click.command()
@click.argument('conv_id', metavar='ID', shell_complete=complete_ids)
@place_options
@owner_option
@click.option(
    '--from',
    'offset',
    metavar='N',
    type=click.IntRange(0, MAX_OFFSET),
    default=0,
    help='Begin at this byte of the stream. Default: its first byte.',
)
@click.option('--events', is_flag=True, help='Write events, one per line.')
@click.option(
    '--json',
    'as_json',
    is_flag=True,
    help='Write each event as a JSON object on a line, and last how the stream ended.',
)
def command(
    place: Place,
    conv_id: str,
    owner: str | None,
    offset: int,
    events: bool,
    as_json: bool,
) -> None:
    """Follow a stream to its end.

    The stream's own bytes are written, unchanged; on a terminal, control characters are
    spelled out. The exit code tells how the stream ended. What the ring has dropped is
    told on stderr. A reader on a runtime directory counts as no follower: it keeps
    no answer going that nobody else reads.
    """
    facts = the_one(place, conv_id, owner)
    following = place.tail(facts)
    lost = 0
    sink = _Events(offset, as_json) if events or as_json else _Bytes()
    for item in following.follow(offset):
        if isinstance(item, Lost):
            lost += item.end - item.start
            note(
                f'{counted(item.end - item.start, "byte")} are lost, from offset'
                f' {item.start} to {item.end}'
            )
            sink.lost(item)
        else:
            sink.take(item, following.content_type)
    sink.close()
    _report(following.end(), lost, as_json)


def _report(end: End, lost: int, as_json: bool) -> None:
    code, words = outcome.OK, ''
    if end.orphaned:
        code = outcome.NO_DEPLOYMENT
        words = 'nobody writes this stream any more, and there is no supervisor'
    elif end.gone:
        code, words = outcome.GONE, 'the stream was replaced or removed before its end'
    elif end.state.label == 'cancelled':
        code, words = outcome.STOPPED, 'the stream was stopped'
    elif end.state.label == 'aborted':
        code = outcome.FAILED
        words = 'the stream failed' + (f': {safe(end.reason)}' if end.reason else '')
    elif lost:
        code = outcome.LOST
    if as_json:
        state = 'gone' if end.gone else end.state.label
        write_json({'end': state, 'lost': lost, 'failure': end.reason})
    if code:
        raise Failure('' if as_json else words, code)


class _Bytes:
    """Writes the stream's bytes; on a terminal, only what drives no terminal."""

    def __init__(self) -> None:
        self._raw = sys.stdout.buffer
        self._decode: Any = None
        if sys.stdout.isatty():
            self._decode = codecs.getincrementaldecoder('utf-8')('replace').decode

    def take(self, chunk: bytes, _content_type: str) -> None:
        """Write a chunk at once."""
        if self._decode is not None:
            text = self._decode(chunk).replace('\r\n', '\n')
            chunk = safe(text, '\n\t').encode('utf-8', 'replace')
        self._raw.write(chunk)
        self._raw.flush()

    def lost(self, _what: Lost) -> None:
        """Nothing: what follows is written where it would have been."""

    def close(self) -> None:
        """Nothing is held back."""


class _Events:
    """Writes an event per line."""

    def __init__(self, offset: int, as_json: bool) -> None:
        self._lines = EventLines(offset)
        self._as_json = as_json

    def take(self, chunk: bytes, content_type: str) -> None:
        """Write the events that are whole by now."""
        self._write(self._lines.feed(chunk, content_type))

    def lost(self, what: Lost) -> None:
        """Go on after what is lost."""
        self._lines.skip_to(what.end)

    def close(self) -> None:
        """Write what is left."""
        self._write(self._lines.rest())

    def _write(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            if self._as_json:
                write_json(event)
            else:
                name = safe(event['event'])
                write(f'{event["offset"]:>9}  {name}  {safe(event["data"])}')
        sys.stdout.flush()
