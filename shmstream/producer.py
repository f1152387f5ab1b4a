"""The writing end of a stream."""

from __future__ import annotations

import asyncio
import fcntl
import io
import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from shmstream.dialects.framing import EVENT_STREAM
from shmstream.errors import LocalError, NoRoom
from shmstream.memory.room_share import RoomShare
from shmstream.memory.segment import Segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.process.live_producers import LiveProducers
from shmstream.ring.layout import W_CANCELLED
from shmstream.ring.state import State
from shmstream.stream_end import DROPPED, NO_ROOM, end_stream
from shmstream.wakeups.producer_side import Marker
from shmstream.wakeups.ring_others import Bells

log = logging.getLogger('shmstream')


class Followers(Protocol):
    """Who follows streams."""

    def everywhere(self, segment: Segment) -> int:
        """Followers of a segment in all live workers."""


class Process(Protocol):
    """What a producer needs of the process that it writes in."""

    @property
    def here(self) -> bool:
        """Whether this is still that process: the producer has not been forked."""

    @property
    def bells(self) -> Bells:
        """By which it rings others."""

    @property
    def room(self) -> RoomShare:
        """Its share of the memory."""

    @property
    def producers(self) -> LiveProducers:
        """Those that look for cancels, and are ended when the process leaves."""

    @property
    def followers(self) -> Followers:
        """Who follows."""

    def later(self, action: Callable[[], object]) -> None:
        """Have a thread of the process do something; from a ``__del__``."""


class Attached(Protocol):
    """Whose stream it is: who has attached to the deployment."""

    @property
    def closed(self) -> bool:
        """Whether it is to have no streams any more."""

    @property
    def process(self) -> Process:
        """The process that it writes in."""


class Producer:
    """Writes one stream. Made by ``Streams.create``; use it as a context manager.

    Leaving the ``with`` block finishes the stream, or aborts it if an exception leaves
    the block. A producer that is dropped without either aborts its stream, and so does
    the supervisor when the process dies: no stream stays live without its producer.

    All methods may be called from any thread. An exception that a signal handler raises
    while the stream is being ended goes on up, and ends the stream all the same: what
    has not been published by then, the supervisor makes up for within a second.

    Args:
        attachment: whose stream it is.
        segment: the segment.
        lock: the file that holds its lock; the producer's from now on.
    """

    _ended = True  # until it is whole

    def __init__(self, attachment: Attached, segment: Segment, lock: io.FileIO) -> None:
        try:
            self.attachment = attachment
            self._process = process = attachment.process
            self._segment = segment
            # An object, which closes it with the last reference if nothing else does.
            self._file = lock
            self._pid = os.getpid()
            self._words = segment.words
            self._room = process.room
            self._ring = segment_writer(segment, lock, self._room.take_for(segment))
            self._marker = Marker(segment, process.bells)
            self._on_cancel: list[Callable[[], None]] = []
            self._make_lock()
            # Before it is known: from then on another thread may end it.
            self._ended = False
            process.producers.add(self)
        except BaseException:
            self._ended = True
            lock.close()
            raise

    def _make_lock(self) -> None:
        # A process that ends aborts from another thread what one of its own writes.
        self._lock = threading.RLock()
        self._acquire, self._release = self._lock.acquire, self._lock.release

    @property
    def conv_id(self) -> str:
        """The conversation id."""
        return self._segment.conv_id

    @property
    def generation(self) -> str:
        """The session's generation, 16 hexadecimal digits."""
        return self._segment.generation

    @property
    def segment(self) -> Segment:
        """The mapped segment, for consumers in the same process."""
        return self._segment

    @property
    def state(self) -> State:
        """The state that this producer has published."""
        return self._ring.state

    @property
    def total_bytes(self) -> int:
        """Bytes written so far."""
        return self._ring.head

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled or replaced the stream."""
        return self._segment.cancelled

    @property
    def followers(self) -> int:
        """Followers of this stream in all live workers, at this moment."""
        return self._process.followers.everywhere(self._segment)

    def begin(self, content_type: str = EVENT_STREAM) -> None:
        """Go from pending to live: the answer has begun and is of this type.

        Raises:
            LocalError: the stream is live or over.
        """
        with self._lock:
            if self._ended or self._ring.state is not State.PENDING:
                raise LocalError(f'stream is {self._ring.state.label}, not pending')
            self._segment.set_content_type(content_type)
            self._ring.go_live()
            self._marker.mark_state(State.LIVE)

    def speaks(self, dialect: int) -> None:
        """Say what its events speak, if anybody but their bytes knows it.

        Args:
            dialect: the number of a dialect (``shmstream.dialects.table``).
        """
        self._segment.set_dialect(dialect)

    def write(self, chunk: bytes) -> bool:
        """Append a chunk; O(len(chunk)), and no system call unless somebody sleeps.

        A chunk larger than the ring keeps its tail, and counts whole. When memory is
        short, it waits in a thread, though not on an event loop, for a word about it,
        250 ms at the most; meanwhile others may end the stream.

        Returns:
            False if the stream is over, and nothing was written: it was finished,
            cancelled or replaced, or memory ran out (it is then aborted, in-band).
            An empty chunk is True while the stream is not over.
        """
        short = False
        try:
            # By hand: ``with`` costs a tenth of all this. Within the try: CPython looks
            # for signals after a call and not before, so what a handler raises then
            # cannot leave it taken.
            self._acquire()
            if self._ended:
                return False
            if self._words[W_CANCELLED]:
                self.look_for_cancel()
                self._end(State.CANCELLED)
                return False
            if chunk:
                try:
                    self._ring.append(chunk)
                except NoRoom as ex:
                    if not self._room.may_wait:
                        return self._run_out(ex)
                    short = True
                if self._marker.marks:
                    self._marker.mark(self._ring.head)
        finally:
            try:  # noqa: SIM105  ``suppress`` costs as much as ``with``
                self._release()
            except RuntimeError:
                # A signal handler raised while we waited for it: that goes on up.
                pass
        if short:
            return self._write_late(chunk)
        self._marker.ring()
        return True

    def _write_late(self, chunk: bytes) -> bool:
        """Wait for a word about room, then write or give up.

        Without the lock: whoever ends the stream meanwhile does not wait for that.
        """
        self._room.wait()
        with self._lock:
            if self._ended:
                return False
            if self.is_cancelled:
                # It ends the stream, and writes nothing.
                return self.write(chunk)
            try:
                self._ring.append(chunk)
            except NoRoom as ex:
                return self._run_out(ex)
            self._marker.mark(self._ring.head)
        self._marker.ring()
        return True

    def _run_out(self, why: NoRoom) -> bool:
        log.warning('stream %s: %s', self.generation, why)
        self.abort(NO_ROOM)
        return False

    async def drain(self) -> None:
        """Wait while a word about the memory limit is under way; for between writes.

        On an event loop ``write`` waits for nothing. When memory is short, what has
        ended could make room for this stream if the supervisor got the time for it,
        and a stream that is written faster ends for want of room. 250 ms at the most,
        and only then.
        """
        if self._room.asked:
            await asyncio.to_thread(self._room.wait)

    def on_cancel(self, hook: Callable[[], None]) -> None:
        """Have ``hook`` called once, promptly, when the stream is cancelled.

        It is called in the process's doorbell thread, also while ``write`` is not being
        called; it must be quick. If the stream is cancelled already, it is called now.
        """
        self._on_cancel.append(hook)
        self.look_for_cancel()

    def ignore_cancel(self) -> None:
        """Call no stop hook from now on."""
        self._on_cancel.clear()

    def look_for_cancel(self) -> None:
        """Look whether the stream has been cancelled; for the doorbell thread."""
        while self._on_cancel and self.is_cancelled:
            try:
                hook = self._on_cancel.pop()
            except IndexError:  # another thread has seen it as well
                return
            try:
                hook()
            except Exception:
                log.exception('stream %s: stop hook failed', self.generation)

    def finish(self) -> None:
        """End the stream: complete, or cancelled if it has been. Idempotent.

        One that has been cancelled ends with the stop of its dialect, for its readers.
        """
        self._end(State.COMPLETE)

    def abort(self, error: str) -> None:
        """End the stream as failed: its last event tells ``error``. Idempotent.

        A stream that has been cancelled ends as cancelled, and one that has said itself
        that it is over as complete; neither with that event. How an end, a failure and
        a stop are told in streams of which type: ``shmstream.dialects.table``.
        """
        self._end(State.ABORTED, error)

    def cancel(self) -> None:
        """End the stream as cancelled, from the producer's own side. Idempotent."""
        self._end(State.CANCELLED)

    def abandon(self) -> None:
        """Forget the stream after a fork: it is the parent's, and so is its lock."""
        # Another thread of the parent may have held it.
        self._make_lock()
        self._ended = True
        self._file.close()

    def _end(self, state: State, error: str | None = None) -> None:
        # Twice: whatever is raised, and wherever, one of the two lets go. Each may be
        # cut short at any point, and done again.
        try:
            try:
                self._publish(state, error)
            finally:
                self._let_go()
        finally:
            self._let_go()

    def _publish(self, state: State, error: str | None) -> None:
        with self._lock:
            if self._ended:
                return
            # From here on it is over, however far the rest of this comes.
            self._ended = True
            if self.is_cancelled:
                state, error = State.CANCELLED, None
            state = end_stream(self._segment, self._ring, state, error)
            self._marker.mark_state(state)

    def _let_go(self) -> None:
        # Under the lock: another thread may be publishing the end.
        with self._lock:
            self._ended = True
            if not self._file.closed:
                # Explicitly: a forked child may share the descriptor's description, and
                # its lock.
                fcntl.flock(self._file, fcntl.LOCK_UN)
                self._file.close()
            self._on_cancel.clear()
            if self._process.here:
                self._process.producers.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.finish()
            else:
                self.abort(f'the producer failed: {kind.__name__}')
        finally:
            # Those may have been interrupted on their way in.
            self._let_go()

    def __del__(self) -> None:
        # After a fork the stream is still the parent's.
        if not self._ended and os.getpid() == self._pid:
            self._process.later(self._abort_dropped)

    def _abort_dropped(self) -> None:
        self.abort(DROPPED)
