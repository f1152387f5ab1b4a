"""What an ``EventSource`` makes of a response, as the HTML standard says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from shmstream import Streams
from shmstream.ids import NOBODY
from tests.support.client import Client, Live


@dataclass(frozen=True)
class Dispatched:
    """An event as a page gets it."""

    name: str
    data: str
    id: str


@dataclass
class EventStream:
    """Parses a response; ``retry_ms`` and ``last_id`` are what it would come back with.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    last_id: str = ''
    retry_ms: int | None = None
    blank_lines: int = 0
    comments: int = 0
    _left: bytes = b''
    _fields: dict[str, list[str]] = field(default_factory=dict)

    def feed(self, data: bytes) -> list[Dispatched]:
        """Take bytes; return the events that they complete."""
        found = []
        data = self._left + data
        # A CR at the end may be half of a line end.
        *lines, self._left = re.split(rb'\r\n|\n|\r(?!\Z)', data)
        for line in lines:
            if not line:
                self.blank_lines += 1
                found += self._dispatched()
                continue
            name, _, value = line.decode().partition(':')
            self.comments += not name
            value = value.removeprefix(' ')
            if name == 'id':
                self._fields['id'] = [value]
            elif name == 'retry' and value.isdigit():
                self.retry_ms = int(value)
            elif name == 'event':
                self._fields['event'] = [value]
            elif name == 'data':
                self._fields.setdefault('data', []).append(value)
        return found

    def _dispatched(self) -> list[Dispatched]:
        fields, self._fields = self._fields, {}
        self.last_id = fields.get('id', [self.last_id])[0]
        if 'data' not in fields:
            return []
        name = fields.get('event', [''])[0] or 'message'
        return [Dispatched(name, '\n'.join(fields['data']), self.last_id)]


def resumes(
    client: Client, target: str, post: Live, first: int, go_on: Callable[[], object]
) -> None:
    """See that the events at ``target`` are those of a stream, and go on from an id.

    Args:
        client: a client of the server.
        target: the address of the events.
        post: the response that began the stream.
        first: bytes of the stream before its source waits.
        go_on: lets the source go on.
    """
    with client.open('GET', target) as source:
        source.until(first)
        go_on()
        *events, end = events_of(source.rest())
        assert source.whole
    whole = events_of(post.rest())
    assert [event.data for event in events] == [event.data for event in whole]
    assert end.name == 'end'
    last = {'Last-Event-ID': events[2].id}
    for rest in (
        client.call('GET', target, None, last),
        client.get(f'{target}&last_event_id={events[2].id}'),
    ):
        assert events_of(rest.body) == [*events[3:], end]
    assert client.call('GET', target, None, {'Last-Event-ID': end.id}).status == 204


def waits(
    client: Client, directory: Path, conv_id: str, target: str, owner: bytes = NOBODY
) -> None:
    """See that a browser comes back while an answer has not begun.

    What readers of bytes get as 503 is 200 and a cut.

    Args:
        client: a client of the server.
        directory: the runtime directory of its deployment.
        conv_id: an id that no stream has.
        target: the address of its events.
        owner: who may read the stream.
    """
    with (
        Streams.attach(directory) as streams,
        streams.create(conv_id, pending=True, owner=owner),
    ):
        assert comes_back(client.open('GET', target))


def comes_back(live: Live) -> bool:
    """Whether a browser would come back after this response, without an event."""
    with live:
        parser = EventStream()
        nothing = parser.feed(live.rest()) == []
        return live.status == 200 and nothing and live.whole is False


def events_of(data: bytes) -> list[Dispatched]:
    """The events of a whole response."""
    parser = EventStream()
    # Nothing can follow a CR at the end.
    return parser.feed(data) + parser.feed(b'\n' if data.endswith(b'\r') else b'')


def address(conv_id: str, last: str = '') -> str:
    """Where the service has the events of a stream."""
    query = f'?last_event_id={last}' if last else ''
    return f'/v1/events/{quote(conv_id, safe="")}{query}'


class Source:
    """Comes back as a browser does: after every cut, with the last id, until 204."""

    def __init__(self, client: Client, conv_id: str) -> None:
        self._client = client
        self._target = address(conv_id)
        self.events: list[Dispatched] = []
        self.last_id = ''
        self.workers: list[int] = []
        self.statuses: list[int] = []

    def connect(self) -> Live:
        headers = {'Last-Event-ID': self.last_id} if self.last_id else {}
        return self._client.open('GET', self._target, headers=headers)

    def run(self, cut_after: int | None = None) -> None:
        """Read to the end; hang up once after so many events, if that is asked."""
        while True:
            try:
                live = self.connect()
            except OSError:
                # Nobody listens for a moment.
                continue
            with live:
                self.statuses.append(live.status)
                if live.status != 200:
                    return
                self.workers.append(live.worker)
                parser = EventStream(self.last_id)
                for data in live.chunks():
                    self.events += parser.feed(data)
                    self.last_id = parser.last_id
                    if cut_after is not None and len(self.events) >= cut_after:
                        cut_after = None
                        break
