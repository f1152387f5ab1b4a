"""A process whose signal handlers use what they interrupt."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import signal
import sys
from collections.abc import Callable
from typing import Any

from shmstream import Streams, membership
from shmstream.membership import Membership
from shmstream.memory.room import Room
from shmstream.runtime import Runtime
from shmstream.wakeups.bells import Bells
from shmstream.wakeups.loops import LoopHubs
from tests.support.child import say
from tests.support.dying import interrupt_at


def at_every_point(
    handler: Callable[[], object],
    act: Callable[[], object],
    *functions: Callable[..., Any],
) -> int:
    """Act again and again, the handler coming a point later each time; how often."""
    for number in itertools.count():
        ran: list[bool] = []

        def handle(ran: list[bool] = ran) -> None:
            ran.append(True)
            handler()

        interrupt_at(number, *functions, every='signal', handler=handle)
        try:
            act()
        finally:
            sys.settrace(None)
        if not ran:
            return number
    raise AssertionError


def _join(directory: str) -> int:
    made: list[Runtime] = []
    streams = Streams.attach(directory)

    def use() -> None:
        made.append(streams.runtime)

    def begin() -> None:
        made.clear()
        streams.connect()
        # The handler's is the one that there is.
        assert made in ([], [streams.runtime])
        known = [entry() for entry in membership._runtimes.values()]
        assert known == [streams.runtime]
        streams.close()

    member = inspect.getattr_static(Streams, 'member').fget
    joining = (membership.join, membership._runtime_of, membership._known)
    return at_every_point(
        use, begin, member, *joining, Membership.__init__, Runtime.__init__
    )


def _take_room(directory: str) -> int:
    with Streams.attach(directory) as streams:
        streams.connect()
        room = streams.runtime.seat.room
        functions = (Room.take, Room._purses, Room._see_figure, Room.wait)

        def take() -> None:
            room.take(1)
            room.wait()

        return at_every_point(take, take, *functions)


def _ring(directory: str) -> int:
    with Streams.attach(directory) as streams:
        streams.connect()
        seat = streams.runtime.seat
        assert seat.slot is not None
        slot = seat.slot

        def ring() -> None:
            seat.bells.ring(slot)
            seat.bells.close()

        return at_every_point(ring, ring, Bells.ring, Bells._bell, Bells.close)


def _find_hub(directory: str) -> int:
    with Streams.attach(directory) as streams:
        streams.connect()
        hubs = streams.runtime.seat.loop_hubs
        found: list[object] = []

        def use() -> None:
            hubs.poke(False, True)
            found.append(hubs.of(asyncio.get_running_loop()))

        async def find() -> None:
            found.clear()
            use()
            # All have found the same.
            assert len(set(found)) == 1

        return at_every_point(
            use, lambda: asyncio.run(find()), LoopHubs.of, LoopHubs._all, LoopHubs.poke
        )


def handle(directory: str, what: str) -> None:
    """Do one thing with a handler at every point of it; say at how many."""
    signal.alarm(50)
    does = {'join': _join, 'room': _take_room, 'bells': _ring, 'hubs': _find_hub}
    say(does[what](directory))
