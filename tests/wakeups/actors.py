"""What the other processes of the wake-up tests do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shmstream import Producer, Streams
from shmstream.process import this_process
from shmstream.ring.layout import B_PLACES
from shmstream.wakeups import (
    doorbell_thread,
    hub_in_threads,
    hub_on_loop,
    hub_pace,
    producer_side,
    ring_others,
    shared_board,
)
from tests.support.child import hear, say


def patch(net_s: float, tick_s: float, quiet_ticks: int, soon_s: float) -> None:
    """Move the safety net and the pace of a hub, in this process."""
    for module in (doorbell_thread, hub_in_threads, this_process):
        module.NET_S = net_s  # type: ignore[attr-defined]
    for module in (hub_on_loop, hub_in_threads):
        module.TICK_S = tick_s  # type: ignore[attr-defined]
    if not tick_s:
        # Look at every turn of the loop: its timers are no finer than a millisecond.
        hub_on_loop.MAX_TICK_S = 0.0
    hub_pace.QUIET_TICKS, hub_pace.SOON_S = quiet_ticks, soon_s


def count_calls(owner: type, name: str) -> list[float]:
    """Note the time of every call of a method."""
    calls: list[float] = []
    inner = getattr(owner, name)

    def noted(*args: Any) -> Any:
        calls.append(time.monotonic())
        return inner(*args)

    setattr(owner, name, noted)
    return calls


def tell_when_it_naps() -> None:
    """Say so once: a follower of this process waits, and has to be rung for.

    A hub naps from its beginning, until it is rung for the first time.
    """
    told = False

    def wrap(name: str) -> None:
        inner = getattr(hub_pace.FollowHub, name)

        def waits(*args: Any) -> Any:
            nonlocal told
            result = inner(*args)
            if not told:
                told = True
                say('naps')
            return result

        setattr(hub_pace.FollowHub, name, waits)

    wrap('wait')
    wrap('take')


def break_it(what: str) -> None:
    """Leave out a part of what a producer does for those who follow."""

    def ring_nobody(_self: object, _slot: int, _nap: int) -> None:
        pass

    def forget_marks(marker: producer_side.Marker) -> None:
        learn(marker)
        marker.marks = []

    learn = producer_side.Marker._learn
    match what:
        case 'ring':
            setattr(ring_others.Bells, 'ring', ring_nobody)  # noqa: B010
        case 'mark':
            setattr(producer_side.Marker, '_learn', forget_marks)  # noqa: B010
        case _:
            assert what == ''


def others_nap(producer: Producer, streams: Streams) -> bool:
    """Whether a process that follows this stream naps, so that it has to be rung."""
    segment, table = producer._segment, streams._process.holder.require().table
    slots = segment.places(segment.view[B_PLACES].tobytes(), table.epoch)
    return any(table.words[table.nap_at(slot)] for slot in slots)


class Player:
    """One side of a rally: answers each message with the next.

    Every ``WAIT_EVERY``-th message is sent when the other side naps, because how often
    it naps is up to the machine otherwise.
    """

    WAIT_EVERY = 20

    def __init__(
        self,
        producer: Producer,
        options: dict[str, Any],
        rung: list[float],
        naps: Callable[[], bool],
    ) -> None:
        self._producer = producer
        self._rung = rung
        self._naps = naps
        self._least_waits: int = options['least'] // 2
        self._least_rung: int = options['least_rung']
        self._leads: bool = options['leads']
        self._rounds: int = options['rounds']
        self._deadline = time.monotonic() + options['seconds']
        self._pauses: list[float] = options['pauses']
        self._rng = random.Random(options['seed'])
        self._sent_at = 0.0
        self.waits: list[float] = []

    def serve(self) -> None:
        """Send the first message."""
        self._send(0)

    def returned(self, data: bytes) -> bool:
        """Take a message and send the next; False once the rally is over."""
        if self._sent_at:
            self.waits.append(time.monotonic() - self._sent_at)
        number = int(data)
        assert len(data) == 8, 'messages must not pile up'
        if self._leads:
            late = time.monotonic() > self._deadline
            if (late or number >= 2 * self._rounds) and self._enough:
                self._producer.finish()
                return False
            if not len(self.waits) % self.WAIT_EVERY:
                while not self._naps():
                    # On one processor the other side cannot nap while this one spins.
                    time.sleep(0.0005)
        self._pause()
        self._send(number + 1)
        return True

    @property
    def _enough(self) -> bool:
        return (
            len(self.waits) >= self._least_waits and len(self._rung) >= self._least_rung
        )

    def _pause(self) -> None:
        # Busy: a sleep would hand the processor over, and hide races.
        end = time.monotonic() + self._rng.random() * self._rng.choice(self._pauses)
        while time.monotonic() < end:
            pass

    def _send(self, number: int) -> None:
        self._sent_at = time.monotonic()
        assert self._producer.write(b'%08d' % number)


def rally(directory: str, options: dict[str, Any]) -> None:
    """Hand messages back and forth with another process, through two streams."""
    patch(
        options['net_s'], options['tick_s'], options['quiet_ticks'], options['soon_s']
    )
    break_it(options['without'])
    napped = count_calls(shared_board.Board, 'nap')
    rung = count_calls(ring_others.Bells, 'ring')
    if not options['leads']:
        tell_when_it_naps()
    with Streams.attach(directory) as streams:
        producer = streams.create(options['mine'])
        say('ready')
        hear()
        follower = streams.open(options['theirs']).follow()
        player = Player(producer, options, rung, lambda: others_nap(producer, streams))

        async def on_a_loop() -> None:
            if options['leads']:
                player.serve()
            if options['kind'] == 'deliver':
                await follower.deliver(send)
                return
            async for data in follower:
                if not player.returned(data):
                    break

        async def send(data: bytes) -> None:
            # Once ours has ended, the other's does so, and then the delivery.
            player.returned(data)

        if options['kind'] != 'threads':
            asyncio.run(on_a_loop())
        else:
            if options['leads']:
                player.serve()
            for data in follower:
                if not player.returned(data):
                    break
        producer.finish()
        follower.close()
        waits = sorted(player.waits) or [0.0]
        say(
            {
                'hand_offs': 2 * len(waits),
                'longest': waits[-1],
                'median': waits[len(waits) // 2],
                'napped': len(napped),
                'rung': len(rung),
            }
        )


def write_between_marks(directory: str, chunks: int) -> None:
    """Write while nobody follows, between two system calls that show in a trace.

    No other thread runs meanwhile: the interpreter would make system calls to give way
    to it, as many as it takes turns, and on a busy machine that is no small number.
    """
    doorbell_thread.NET_S = 1000.0
    with Streams.attach(directory) as streams:
        producer = streams.create('c', capacity=65536)
        chunk = b'x' * 200
        # All of the ring is backed by memory after this.
        for _ in range(2 * 65536 // 200):
            producer.write(chunk)
        Path('/mark-begin').exists()
        for _ in range(chunks):
            producer.write(chunk)
        Path('/mark-end').exists()
        producer.finish()
