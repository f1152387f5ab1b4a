"""What does counting cost: each event alone, and a live event on its way to a reader?

CPU nanoseconds. "counted event" is what one line of counting costs, less the loop that
runs it; beside it stands the library that applications count with.

"live event" is all that our process does for an event of 200 bytes: ``Producer.write``,
the look of the hub, and one ``send`` on TCP for each follower; another process reads.
It is measured with and without the lines that count, in turns: "not counted" has the
same functions, compiled from their sources less these lines. HTTP and wake-ups come on
top in a service, so there the share is smaller. A follower that is iterated fetches its
bytes itself, and counts each piece itself: that is "a piece that is fetched".
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.measure import interleaved, say, stat
from bench.report import Options, Report, Row, Stat
from shmstream import Streams, SupervisorConfig
from shmstream.metrics.catalogue import RINGS, WAKE
from shmstream.metrics.counts import Counts
from shmstream.producer import Producer
from shmstream.wakeups.hub_watch import PIECE, Watch

TARGET_NS = 150
CHUNK = b'data: ' + b'x' * 192 + b'\n\n'
FOLLOWERS = (1, 200)
RING = 256 << 10

_RINGS = RINGS.at

COUNTING: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (
        Producer,
        'write',
        ('if not self._appends:', 'self._note_first()', 'self._appends += 1'),
    ),
    (
        Watch,
        '_hand_over',
        (
            'taken = len(takers)',
            'if self._untaken:',
            'taken -= self._untaken',
            'self._untaken = 0',
            'self.delivered += taken * (PIECE + head - at)',
        ),
    ),
)
"""The functions on the way of a live event, and their lines that count."""


class _Noting:
    """What producers and watches do: they note in an attribute."""

    def __init__(self) -> None:
        self.noted = 0

    def note(self, number: int) -> None:
        for _ in range(number):
            self.noted += 1


def _nothing(number: int) -> None:
    for _ in range(number):
        pass


def _fetched(watch: Any) -> Callable[[int], None]:
    """What ``Follower`` does for each piece, if nobody hands it over."""
    piece = CHUNK

    def count(number: int) -> None:
        for _ in range(number):
            size = len(piece)
            watch.delivered += PIECE + size

    return count


def _words(counts: Counts) -> Callable[[int], None]:
    def count(number: int) -> None:
        for _ in range(number):
            counts.words[_RINGS] += 1

    return count


def _durations(counts: Counts) -> Callable[[int], None]:
    def count(number: int) -> None:
        for _ in range(number):
            counts.observe(WAKE, 123_456)

    return count


def _library() -> dict[str, Callable[[int], None]]:
    try:
        import prometheus_client
    except ImportError:
        return {}
    counter = prometheus_client.Counter('bench', 'x', registry=None)

    def count(number: int) -> None:
        for _ in range(number):
            counter.inc()

    return {'prometheus_client, one process': count}


def _ns_each(action: Callable[[int], None], number: int) -> float:
    began = time.process_time_ns()
    action(number)
    return (time.process_time_ns() - began) / number


def _without(kind: Any, name: str, lines: tuple[str, ...]) -> Any:
    """Compile a method anew, without these lines."""
    source = textwrap.dedent(inspect.getsource(getattr(kind, name)))
    kept, left = [], set(lines)
    for line in source.splitlines():
        if line.strip() in lines:
            left.discard(line.strip())
        else:
            kept.append(line)
    assert not left, f'{name} has no such lines: {left}'
    module = inspect.getmodule(kind)
    # The module's own names, so that both versions are the same but for these lines.
    scope = vars(module)
    found: dict[str, Any] = {}
    exec(compile('\n'.join(kept), f'<{name} without counting>', 'exec'), scope, found)
    return found[name]


class _PlainProducer(Producer):
    """A producer that does not count."""


class _PlainWatch(Watch):
    """A watch that does not count."""

    __slots__ = ()


PLAIN = {Producer: _PlainProducer, Watch: _PlainWatch}
for _kind, _name, _lines in COUNTING:
    setattr(PLAIN[_kind], _name, _without(_kind, _name, _lines))


def _read_by_another(sock: socket.socket) -> subprocess.Popen[bytes]:
    """Start a process that reads all that comes, until the other end closes."""
    program = 'import os\nwhile os.read(0, 1 << 20):\n    pass'
    return subprocess.Popen([sys.executable, '-c', program], stdin=sock.fileno())


async def _live(
    streams: Streams, followers: int, samples: int, out: socket.socket | None
) -> dict[bool, list[float]]:
    """CPU nanoseconds of this process per event: counted, and not counted, in turns.

    The turns are short, so that what others do on the machine meets both alike.

    Args:
        streams: the deployment.
        followers: followers of each of the two streams, all of this loop.
        samples: the number of turns of each.
        out: a connected socket, which takes what each of the followers gets; None:
            nothing is sent.
    """
    sent = 0

    def write(data: bytes) -> bool:
        nonlocal sent
        sent += 1
        return out is None or bool(out.send(data) == len(data))

    async def send(data: bytes) -> None:
        write(data)

    tasks = []
    producers: dict[bool, Producer] = {}
    holder = streams._process.holder
    for on in (True, False):
        name = f'bench-{on}'
        producer = await asyncio.to_thread(streams.create, name)
        consumer = streams.open(name)
        tasks += [
            asyncio.ensure_future(consumer.follow(0).deliver(send, write))
            for _ in range(followers)
        ]
        # Each of them has joined the hub, and waits, after a turn of its task.
        await asyncio.sleep(0.05)
        assert producer.followers == followers
        producers[on] = producer
        hub = holder.require().hubs.loops.of(asyncio.get_running_loop())
        if not on:
            producer.__class__ = _PlainProducer
            watch = hub._hub._watches[producer._segment.identity]
            watch.__class__ = _PlainWatch
        # Until the ring is all backed by memory: one more extent would wake the tasks
        # of the followers.
        for _ in range(2 * RING // len(CHUNK)):
            producer.write(CHUNK)
            hub.look()
            await asyncio.sleep(0)
    sent = 0
    found: dict[bool, list[float]] = {True: [], False: []}
    events = max(100 // followers, 5)
    for turn in range(2 * samples):
        # Each of the two comes first as often as the other.
        on = bool(turn & 1) != bool(turn & 2)
        producer = producers[on]
        began = time.process_time_ns()
        for _ in range(events):
            producer.write(CHUNK)
            hub.look()
        found[on].append((time.process_time_ns() - began) / events)
    assert sent == 2 * samples * events * followers, 'not all of it was delivered live'
    for on, producer in producers.items():
        producer.finish()
        await asyncio.to_thread(streams.evict, f'bench-{on}')
    await asyncio.gather(*tasks, return_exceptions=True)
    return found


def _measured(
    streams: Streams, followers: int, samples: int
) -> dict[bool, list[float]]:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with theirs:
        reader = _read_by_another(theirs)
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return asyncio.run(_live(streams, followers, samples, ours))
    finally:
        ours.close()
        reader.wait()


def _alone(report: Report, rounds: int, number: int) -> None:
    counts = Counts()
    actions = {
        'a word in shared memory': _words(counts),
        'an attribute': _Noting().note,
        'a piece that is fetched': _fetched(SimpleNamespace(delivered=0)),
        'a histogram': _durations(counts),
        **_library(),
    }
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _, name in interleaved(rounds, list(actions)):
        loop_ns = _ns_each(_nothing, number)
        found[name].append(_ns_each(actions[name], number) - loop_ns)
    for name, costs in found.items():
        report.rows.append(Row(name, 'counted event', {'CPU ns': stat(costs)}))
    worst = stat(found['a word in shared memory']).median
    report.notes.append(
        f'a word costs {worst:.0f} ns (target {TARGET_NS}); a histogram is for what is'
        ' rare: rings, and first bytes'
    )


def _on_its_way(report: Report, samples: int) -> None:
    directory = Path(f'/dev/shm/shmstream-bench-{os.getpid()}')
    config = SupervisorConfig(capacity=RING)
    with Streams.attach(directory, supervise=config) as streams:
        streams.connect()
        for followers in FOLLOWERS:
            case = f'live event, {followers} followers'
            say(case)
            # Sends cost so much, and so differently each time, that the difference is
            # measured without them.
            bare = asyncio.run(_live(streams, followers, samples, None))
            sent = _measured(streams, followers, samples // 4)
            for on, name in ((True, 'counted'), (False, 'not counted')):
                values = {
                    'CPU ns': _middle(bare[on]),
                    'sent, CPU ns': _middle(sent[on]),
                }
                report.rows.append(Row(name, case, values))
            more = _middle(bare[True]).median - _middle(bare[False]).median
            whole = _middle(sent[True]).median
            report.notes.append(
                f'{case}: counting takes {more:.0f} ns of {whole:.0f}, that is'
                f' {more / whole:.2%}; a service sends HTTP, and its share is smaller'
            )


def _middle(samples: list[float]) -> Stat:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(samples, n=4)
    return Stat(median, low, high)


def run(options: Options) -> Report:
    """Measure both in interleaved rounds."""
    report = Report('metrics', 'CPU ns of counting')
    rounds = options.rounds or (9 if options.quick else 31)
    number = 100_000 if options.quick else 200_000
    _alone(report, rounds, number)
    _on_its_way(report, 500 if options.quick else 3000)
    return report
