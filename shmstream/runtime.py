"""What one process of the deployment shares: its slot, doorbell, hubs and mappings.

Made lazily and after fork: importing or attaching starts nothing. One thread (the
doorbell) does all the background work of the process: it drives the hubs, notices
cancels for the streams produced here, and notices when the supervisor has gone.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from shmstream import clock
from shmstream.control.client import CONNECT_S, FIRST_CONNECT_S, ControlClient
from shmstream.control.keeper import Keeper
from shmstream.control.wire import Message
from shmstream.errors import ShmstreamError, SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.mappings import Mappings
from shmstream.memory.room import ANSWER_S, Room
from shmstream.memory.segment import Segment
from shmstream.memory.slots import SlotLock
from shmstream.memory.table import WorkerTable
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.spawn import ask
from shmstream.wakeups.bells import Bells
from shmstream.wakeups.board import Board
from shmstream.wakeups.chores import Chores
from shmstream.wakeups.doorbell import NET_S, Doorbell
from shmstream.wakeups.greenlets import make_doorbell
from shmstream.wakeups.hub import Watch
from shmstream.wakeups.loop import LoopHub
from shmstream.wakeups.loops import LoopHubs
from shmstream.wakeups.threads import ThreadHub
from shmstream.weakly import weakly

if TYPE_CHECKING:
    from shmstream.producer import Producer

log = logging.getLogger('shmstream')

_ROOM_RETRY_S = 2.0

_alive: weakref.WeakSet[Runtime] = weakref.WeakSet()


class Runtime:
    """One process's part in the deployment; ``membership`` says who shares it.

    Args:
        directory: the runtime directory.
        config: what to start a supervisor with if there is none yet; None: as its
            predecessor was, and only if there was one.
        masters: the processes that keep the deployment alive, as this process sees it
            now; empty when it has been orphaned and must not start a supervisor.
        leaving: whether this process has been told to stop serving.
        leave: closes the runtime if it has no members; called in a thread of its own.

    Attributes:
        members: a token of each membership (``membership``); without any it leaves.
    """

    def __init__(
        self,
        directory: RuntimeDirectory,
        config: SupervisorConfig | None,
        masters: Callable[[], list[int]],
        leaving: Callable[[], bool],
        leave: Callable[[Runtime], object],
    ) -> None:
        self.directory = directory
        self.members: set[object] = set()
        self._leave = leave
        self._leaving_now: threading.Thread | None = None
        self._config = config
        self._masters = masters
        self._keeper = Keeper(directory, config, masters)
        self.leaving = leaving
        self.client = ControlClient(
            directory,
            self._keeper.respawn,
            weakly(self._hello, {}),
            weakly(self._greeted, None),
        )
        self._producers: weakref.WeakSet[Producer] = weakref.WeakSet()
        # What garbage collection has found: it may run in any thread, under any lock.
        self._later: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._chores = Chores('doorbell')
        # Whom the supervisor works for in our name: as said, and as it has answered.
        self._masters_said: set[int] = set()
        self._masters_told: set[int] = set()
        self.mappings = Mappings(directory.sessions, weakly(self._known_room, 0))
        self.followers = 0
        self._pid = os.getpid()
        self._slot: int | None = None
        self._slot_lock: SlotLock | None = None
        self._epoch = 0
        self._notices = 0
        self._looks = 0
        self._room_wanted = False
        self._ask_room_at = 0.0
        self._asker: threading.Thread | None = None
        self._look_at = 0.0
        self._left = False
        self._lock = threading.RLock()
        self._closed = False
        self.table: WorkerTable
        self.bells: Bells
        self.room: Room
        self._doorbell: Doorbell
        self._board: Board
        self.thread_hub: ThreadHub
        self._loop_hubs: LoopHubs
        _alive.add(self)

    # -- connecting ------------------------------------------------------------------

    def connect(self) -> None:
        """Take a slot and start the doorbell thread, unless that has been done.

        Raises:
            SupervisorUnavailable: no supervisor within the bound of ``ControlClient``.
        """
        if self._slot is None:
            first = self._config is not None
            self.client.connect(FIRST_CONNECT_S if first else CONNECT_S)
        self._tell_masters()

    def _reconnect(self) -> None:
        self.client.connect()
        self._tell_masters()
        self._keeper.connected()

    def _untold_masters(self) -> list[int]:
        return [pid for pid in self._masters() if pid not in self._masters_told]

    def _tell_masters(self) -> None:
        for pid in self._untold_masters():
            self.client.request('join', pid=pid)
            self._masters_told.add(pid)

    def supervise(
        self, config: SupervisorConfig, masters: Callable[[], list[int]]
    ) -> None:
        """Start supervisors with this from now on, unless there is a config already."""
        with self._lock:
            if self._config is not None:
                return
            self._config, self._masters = config, masters
            self._keeper.supervise(config, masters)
        if self._slot is not None:
            # The supervisor does not know these masters, and who only follows never
            # asks it for anything: the doorbell thread has it told.
            self._look_at = 0.0
            self._ring_self()

    @property
    def there(self) -> bool:
        """Whether it has taken a slot."""
        return self._slot is not None

    @property
    def closed(self) -> bool:
        """Whether this process has left: nobody drives its hubs any more."""
        return self._closed

    @property
    def here(self) -> bool:
        """Whether this is still the process that the runtime was made in."""
        return self._pid == os.getpid()

    def _hello(self) -> Message:
        masters = self._masters()
        self._masters_said = set(masters)
        return {
            'pid': os.getpid(),
            'masters': masters,
            'slot': self._slot,
            'epoch': self._epoch,
            'time_space': clock.TIME_SPACE,
        }

    def _greeted(self, reply: Message) -> None:
        slot, epoch = int(reply['slot']), int(reply['epoch'])
        self._keeper.connected()
        self._masters_told = self._masters_said
        if (slot, epoch) == (self._slot, self._epoch) and self._doorbell.alive:
            return
        if self._closed:
            raise SupervisorUnavailable('this process has left')
        # All that can fail comes first: half of it would leave followers asleep.
        table = WorkerTable.attach(self.directory.table)
        lock = self._lock_slot(table, slot, epoch)
        doorbell: Doorbell | None = None
        try:
            doorbell = make_doorbell(table, epoch, weakly(self._on_wake, NET_S))
            doorbell.start()
            with self._lock:
                before = self._doorbell if self._slot is not None else None
                if before is None:
                    self._board = Board(table, slot, epoch)
                    by_pipe = doorbell.by_pipe
                    self.thread_hub = ThreadHub(
                        self._board, weakly(self._ring_self, None), by_pipe
                    )
                    pipe = None if by_pipe else table.pipe(epoch)
                    self._loop_hubs = LoopHubs(self._board, pipe)
                self.table = table
                self.bells = Bells(table, (slot, epoch), self._board.tell)
                self.room = Room(table, weakly(self._want_room, None))
                self._notices = table.notices(slot)
                self._looks = table.looks(slot)
                self._doorbell = doorbell
                # Last: with a slot, all of it is there, the thread as well.
                had, self._slot_lock = self._slot_lock, lock
                self._epoch = epoch
                self._slot = slot
        except BaseException:
            # Greeted anew, we begin anew: the thread is looked for, not only the slot.
            if doorbell is not None:
                doorbell.stop()
            if lock is not self._slot_lock:
                lock.release()
            raise
        if before is not None:
            # We were away for too long, and are somebody else to the new supervisor.
            before.stop()
            self._board.move(table, slot, epoch)
            self._loop_hubs.move(table.pipe(epoch))
            for segment in self.mappings.everything():
                segment.count_followers(slot, epoch, 0)
        if had is not None and had is not lock:
            # Last: until here, words of that slot have been written.
            had.release()

    def _lock_slot(self, table: WorkerTable, slot: int, epoch: int) -> SlotLock:
        had = self._slot_lock
        if had is not None and had.place == (table.identity, slot, epoch):
            return had
        return SlotLock(self.directory.table, table, slot, epoch)

    def _known_room(self) -> int:
        return 0 if self._slot is None else self.table.room

    def _want_room(self) -> None:
        # Whoever writes must not wait, not even for a thread to start.
        self._room_wanted = True
        self._ring_self()

    def _ask_room_aside(self, now: float) -> None:
        # Nor may the doorbell thread: followers depend on it.
        if now < self._ask_room_at:
            return
        if self._asker is not None and self._asker.is_alive():
            return
        self._room_wanted = False
        self._asker = threading.Thread(
            target=self._ask_room, name='shmstream-room', daemon=True
        )
        self._asker.start()

    def _ask_room(self) -> None:
        room = self.room
        try:
            ask(self.directory, 'room', reply_s=ANSWER_S)
        except ShmstreamError as ex:
            self._ask_room_at = time.monotonic() + _ROOM_RETRY_S
            log.warning('no word about room: %s', ex)
            room.answered(False)
        else:
            room.answered(True)

    def _ring_self(self) -> None:
        # The doorbell's own thread looks around by itself before it waits again.
        if not self._doorbell.current:
            self._doorbell.ring()

    # -- the doorbell thread ---------------------------------------------------------

    def _on_wake(self, rung: bool) -> float:
        slot = self._slot
        if slot is None:
            return NET_S
        do = self._chores.do
        # First of all: somebody waits for this.
        do('the board', self._board.rung, None)
        now = time.monotonic()
        notices, looks = self.table.notices(slot), self.table.looks(slot)
        # By the clock, not by whether the wait ran out: under steady traffic the bell
        # never stops ringing.
        due = now >= self._look_at
        if due:
            self._look_at = now + NET_S
        left = do('leaving', self.leaving, False)
        if due or notices != self._notices or looks != self._looks or left:
            look_at_all = due or looks != self._looks
            self._notices, self._looks = notices, looks
            self._look_around(look_at_all, left)
        self._do_later()
        if self._room_wanted:
            do('asking for room', lambda: self._ask_room_aside(now), None)
        wait_s = do('threads that follow', self.thread_hub.step, NET_S)
        if due:
            do('mappings', lambda: self.mappings.forget_unused(now), None)
            do('the supervisor', self._keep_supervisor, None)
            do('leaving unused', self._leave_unused, None)
        return wait_s

    def _look_around(self, look_at_all: bool, left: bool) -> None:
        do = self._chores.do
        for producer in self.producers():
            do('a stop hook', producer.notice, None)
        everybody = left and not self._left
        self._left = left
        if not look_at_all and not everybody:
            return
        do('loops', lambda: self._loop_hubs.poke(look_at_all, everybody), None)
        do('threads', lambda: self.thread_hub.step(look_at_all, everybody), NET_S)

    def _keep_supervisor(self) -> None:
        if self.client.gone() or self._untold_masters():
            self._keeper.reconnect(self._reconnect)

    def _leave_unused(self) -> None:
        # Not from here: leaving ends this very thread, and waits for it.
        if not self.members and self._leaving_now is None:
            thread = threading.Thread(
                target=self._leave, args=(self,), name='shmstream-leaving'
            )
            thread.start()
            self._leaving_now = thread
        elif self._leaving_now is not None and not self._leaving_now.is_alive():
            # Somebody has joined at the last moment.
            self._leaving_now = None

    def wake_everybody(self) -> None:
        """Have all followers look around: those of one member are to leave."""
        if self._slot is not None:
            self._loop_hubs.poke(False, True)
            self.thread_hub.step(everybody=True)

    # -- hubs and mappings -----------------------------------------------------------

    async def loop_hub(self) -> LoopHub:
        """Return the hub of the running event loop. Raises as ``connect``."""
        if self._slot is None:
            await asyncio.to_thread(self.connect)
        return self._loop_hubs.of(asyncio.get_running_loop())

    # -- producers, and what is left of the dropped ----------------------------------

    def add_producer(self, producer: Producer) -> None:
        """Have the producer notice cancels."""
        with self._lock:
            self._producers.add(producer)

    def remove_producer(self, producer: Producer) -> None:
        """It has ended."""
        with self._lock:
            self._producers.discard(producer)

    def producers(self) -> list[Producer]:
        """Those that have not ended."""
        with self._lock:
            return list(self._producers)

    def later(self, action: Callable[[], None]) -> None:
        """Have the doorbell thread do something; from anywhere, a ``__del__`` too."""
        self._later.put(action)
        if self._slot is not None:
            self._doorbell.ring()

    def drop_follower(self, hub: LoopHub | ThreadHub, watch: Watch) -> None:
        """A follower was dropped without ``close``; from a ``__del__``."""
        if self.here:
            self.later(functools.partial(self._forget_follower, hub, watch))

    def _forget_follower(self, hub: LoopHub | ThreadHub, watch: Watch) -> None:
        self.count_follower(watch.segment, -1)
        hub.leave_later(watch)

    def _do_later(self) -> None:
        while not self._later.empty():
            self._chores.do('letting go', self._later.get(), None)

    def count_follower(self, segment: Segment, step: int) -> None:
        """One follower more or less of this segment in this process: publish it."""
        with self._lock:
            self.followers += step
        # Who has left counts for nothing any more.
        if self._slot is not None:
            segment.count_followers(self._slot, self._epoch, step)

    def listeners(self, segment: Segment) -> int:
        """Followers of a segment in all live workers."""
        return segment.followers_everywhere(self.table.epoch)

    # -- leaving ---------------------------------------------------------------------

    def abandon(self) -> None:
        """Forget everything after a fork: it is the parent's."""
        if self._slot is not None:
            self._loop_hubs.abandon()
        self._slot = None
        # ``memory.slots`` has closed our copy.
        self._slot_lock = None
        self._closed = True
        self.mappings.clear()
        self.client.abandon()
        # Without the lock: another thread of the parent may have held it.
        for producer in list(self._producers):
            producer.abandon()

    def abort_all(self, member: object = None) -> None:
        """Abort what this member produces, or everybody."""
        for producer in self.producers():
            if member in (None, producer.member):
                self._chores.do(
                    'aborting a stream',
                    functools.partial(producer.abort, 'the producer is shutting down'),
                    None,
                )

    def close(self) -> None:
        """Leave the deployment; what is still produced here is aborted."""
        self._closed = True
        self._keeper.close()
        self.abort_all()
        self._do_later()
        if self._slot is not None:
            self._doorbell.stop()
            if self._asker is not None:
                self._asker.join()
            self.bells.close()
            self._loop_hubs.close()
            self._slot = None
        if self._slot_lock is not None:
            # Before the connection: whose end makes the supervisor look whether it is.
            self._slot_lock.release()
            self._slot_lock = None
        self.mappings.clear()
        self.client.close()


def _abandon_all() -> None:
    for runtime in list(_alive):
        runtime.abandon()


def _close_all() -> None:
    for runtime in list(_alive):
        if runtime.here:
            runtime.close()


os.register_at_fork(after_in_child=_abandon_all)
# Before the interpreter tears down: the doorbell thread must be joined first.
atexit.register(_close_all)
