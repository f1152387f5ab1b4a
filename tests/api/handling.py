"""A process whose signal handlers use what they interrupt."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import signal
import sys
from collections.abc import Callable
from typing import Any

from shmstream import Streams
from shmstream.memory.room_share import RoomShare
from shmstream.process import attachment
from shmstream.process.attachment import Attachment
from shmstream.process.this_process import ThisProcess
from shmstream.wakeups.hub_per_loop import LoopHubs
from shmstream.wakeups.ring_others import Bells
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
    made: list[ThisProcess] = []
    streams = Streams.attach(directory)

    def use() -> None:
        made.append(streams._process)

    def begin() -> None:
        made.clear()
        streams.connect()
        # The handler's is the one that there is.
        assert made in ([], [streams._process])
        known = [entry() for entry in attachment._processes.values()]
        assert known == [streams._process]
        streams.close()

    first_use = inspect.getattr_static(Streams, '_attachment').fget
    attaching = (attachment.attach, attachment._process_of, attachment._known)
    return at_every_point(
        use,
        begin,
        first_use,
        *attaching,
        Attachment.__init__,
        ThisProcess.__init__,
    )


def _take_room(directory: str) -> int:
    with Streams.attach(directory) as streams:
        streams.connect()
        room = streams._process.room
        functions = (
            RoomShare.take,
            RoomShare._purses,
            RoomShare._see_figure,
            RoomShare.wait,
        )

        def take() -> None:
            room.take(1)
            room.wait()

        return at_every_point(take, take, *functions)


def _ring(directory: str) -> int:
    with Streams.attach(directory) as streams:
        streams.connect()
        membership = streams._process.holder.require()
        slot = membership.slot

        def ring() -> None:
            membership.bells.ring(slot)
            membership.bells.close()

        return at_every_point(ring, ring, Bells.ring, Bells._bell, Bells.close)


def _find_hub(directory: str) -> int:
    with Streams.attach(directory) as streams:
        streams.connect()
        hubs = streams._process.holder.require().hubs.loops
        found: list[object] = []

        def use() -> None:
            hubs.look_soon(False, True)
            found.append(hubs.of(asyncio.get_running_loop()))

        async def find() -> None:
            found.clear()
            use()
            # All have found the same.
            assert len(set(found)) == 1

        return at_every_point(
            use,
            lambda: asyncio.run(find()),
            LoopHubs.of,
            LoopHubs._all,
            LoopHubs.look_soon,
        )


def handle(directory: str, what: str) -> None:
    """Do one thing with a handler at every point of it; say at how many."""
    signal.alarm(50)
    does = {'join': _join, 'room': _take_room, 'bells': _ring, 'hubs': _find_hub}
    say(does[what](directory))
