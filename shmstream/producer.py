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
from typing import Self

from shmstream import clock
from shmstream.cancel_hooks import CancelHooks
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.errors import LocalError, NoRoom
from shmstream.logs.cause import Cause
from shmstream.logs.life_line import set_trace, set_upstream_status, tell
from shmstream.logs.trace_context import TraceContext
from shmstream.memory.segment import Segment
from shmstream.memory.segment_writer import segment_writer
from shmstream.metrics.catalogue import APPENDS, BYTES, ENDED, FIRST_BYTE
from shmstream.producer_needs import Attached
from shmstream.ring.layout import COUNTED, W_ASKED, W_CANCELLED, W_CAUSE, W_COUNTED
from shmstream.ring.state import State
from shmstream.stream_end import DROPPED, NO_ROOM, end_stream
from shmstream.wakeups.producer_side import Marker

log = logging.getLogger('shmstream')

_APPENDS, _BYTES_IN = APPENDS.at, BYTES.of('in')


class Producer:
    r"""Writes one stream. Made by ``Streams.create``; use it as a context manager.

    Leaving the ``with`` block finishes the stream, or aborts it if an exception leaves
    the block. A producer that is dropped before its end aborts its stream, and the
    supervisor aborts the streams of a process that died: no stream stays live without
    its producer.

    All methods may be called from any thread. None of them blocks but ``write``, when
    memory is short. If a signal handler raises while the stream is being ended, the
    exception is passed on, but the stream ends all the same: the supervisor publishes
    within a second what the producer could not.

    Args:
        attachment: the attachment that the stream belongs to.
        segment: the segment.
        lock: the file that holds the segment's lock. The producer closes it.

    Example::

        with streams.create('chat-1') as producer:
            for word in (b'Hello', b'world'):
                if not producer.write(b'data: %b\n\n' % word):
                    break  # stopped, or replaced
    """

    _ended = True  # until ``__init__`` is done

    def __init__(self, attachment: Attached, segment: Segment, lock: io.FileIO) -> None:
        try:
            self._attachment = attachment
            self._process = process = attachment.process
            self._segment = segment
            # A file object, so that the last reference closes it if nothing else does.
            self._file = lock
            self._pid = os.getpid()
            self._words = segment.words
            self._room = process.room
            self._ring = segment_writer(segment, lock, self._room.take_for(segment))
            self._marker = Marker(segment, process.bells)
            self._on_cancel = CancelHooks(segment)
            self._ignores_cancel = False
            self._appends = self._told = 0
            self._cause: Cause | None = None
            self._request_id = ''
            self._make_lock()
            # Set before ``add``: after that, another thread may end the stream.
            self._ended = False
            process.producers.add(self)
        except BaseException:
            self._ended = True
            lock.close()
            raise

    def _make_lock(self) -> None:
        # Another thread aborts the stream when the process leaves.
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
    def content_type(self) -> str:
        """The media type of the stream's bytes; empty while pending."""
        return self._segment.content_type

    @property
    def capacity(self) -> int:
        """The bytes that the stream's ring holds."""
        return self._segment.reader.capacity

    @property
    def state(self) -> State:
        """The state that this producer has published."""
        return self._ring.state

    @property
    def total_bytes(self) -> int:
        """Bytes that have entered the stream so far."""
        return self._ring.head

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has cancelled or replaced the stream."""
        return self._segment.cancelled

    @property
    def followers(self) -> int:
        """Followers of this stream in all live workers, at this moment."""
        return self._process.followers.everywhere(self._segment)

    def begin(
        self, content_type: str = EVENT_STREAM, kept_headers: bytes = b''
    ) -> None:
        """Go from pending to live: the stream begins, and is of this type.

        Args:
            content_type: the media type of the stream's bytes.
            kept_headers: the headers that replays have as well, as
                ``kept_headers.to_keep`` returns them.

        Raises:
            LocalError: the stream is live already, or over.

        Example::

            producer = streams.create('log-1', pending=True)
            producer.begin('text/plain')
        """
        with self._lock:
            if self._ended or self._ring.state is not State.PENDING:
                raise LocalError(f'stream is {self._ring.state.label}, not pending')
            self._segment.set_content_type(content_type)
            self._segment.set_kept_headers(kept_headers)
            self._ring.go_live()
            self._marker.mark_state(State.LIVE)

    def _speaks(self, dialect: int) -> None:
        """Note the dialect of the stream, which its bytes alone may not tell.

        Args:
            dialect: the number of a dialect (``shmstream.dialects.table``).
        """
        self._segment.set_dialect(dialect)

    def _also_named(self, alias: bytes) -> None:
        """Give the stream a second name, if it has none; see ``Streams.open_alias``."""
        if not self._segment.alias:
            self._segment.set_alias(alias)

    def _came_from(self, trace: TraceContext) -> None:
        """Note the ids of the request that the stream answers, for the log."""
        self._request_id = trace.request_id
        set_trace(self._segment, trace.trace_id, trace.span_id)

    def _is_answered(self, status: int) -> None:
        """Note the status of the upstream's answer, for the log."""
        set_upstream_status(self._segment, status)

    def _ends_by(self, cause: Cause) -> None:
        """Note why the stream will end, for the log; a cancel from outside counts more.

        Args:
            cause: why, if it does not end as complete.
        """
        self._cause = cause

    def write(self, chunk: bytes) -> bool:
        r"""Append a chunk; O(len(chunk)), and no system call unless a follower sleeps.

        Of a chunk larger than the ring only the tail stays, but all of it is counted.
        When memory is short, ``write`` waits up to 250 ms for the supervisor's answer,
        unless it runs on an event loop; other threads may end the stream meanwhile.

        Returns:
            False if nothing was written because the stream is over: it was finished,
            cancelled or replaced, or memory ran out (then it is aborted, with an error
            event). An empty chunk returns True while the stream is not over.

        Example::

            if not producer.write(b'data: Hello\n\n'):
                print('the stream is over')
        """
        short = False
        try:
            # Not ``with``, which costs a tenth of this method. Within the try, because
            # CPython runs signal handlers after a call and not before: if one raises,
            # the lock is released all the same.
            self._acquire()
            if self._ended:
                return False
            if self._words[W_CANCELLED]:
                self._on_cancel.look()
                self._end(State.CANCELLED)
                return False
            if chunk:
                if not self._appends:
                    self._note_first()
                try:
                    self._ring.append(chunk)
                    self._appends += 1
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
                # A signal handler raised in ``acquire``: its exception is passed on.
                pass
        if short:
            return self._write_late(chunk)
        self._marker.ring()
        return True

    def _note_first(self) -> None:
        took = clock.now_ns() - self._words[W_ASKED]
        self._process.counts.observe(FIRST_BYTE, took)

    def _tell(self) -> None:
        """Count what has been written since the last call; from any thread.

        If another thread writes or ends the stream meanwhile, nothing is counted now:
        it may be waiting for the log, and the doorbell's thread must not.
        """
        counts = self._process.counts
        if not self._acquire(blocking=False):
            return
        try:
            if self._file.closed:
                # The segment's words belong to the supervisor now.
                return
            appends, head = self._appends, self._ring.head
            more, more_bytes = appends - self._told, head - self._words[W_COUNTED]
            self._told = appends
            counts.words[_APPENDS] += more
            counts.words[_BYTES_IN] += more_bytes
            self._words[W_COUNTED] = head
        finally:
            self._release()

    def _write_late(self, chunk: bytes) -> bool:
        """Wait for the supervisor's answer about memory, then write or abort.

        Waits without the lock, so that other threads can end the stream meanwhile.
        """
        self._room.wait()
        with self._lock:
            if self._ended:
                return False
            if self.is_cancelled:
                # This ends the stream, and writes nothing.
                return self.write(chunk)
            try:
                self._ring.append(chunk)
                self._appends += 1
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
        r"""Wait for the supervisor's answer about memory; await this between writes.

        On an event loop ``write`` never waits. When memory is short, the supervisor
        needs a moment to evict ended sessions, and a stream that is written faster than
        that runs out of memory. Waits 250 ms at most, and only if an answer is due.

        Example::

            while producer.write(b'data: Hello\n\n') and producer.total_bytes < 10_000:
                await producer.drain()
        """
        if self._room.asked:
            await asyncio.to_thread(self._room.wait)

    def on_cancel(self, hook: Callable[[], None]) -> None:
        """Have ``hook`` called once, promptly, when the stream is cancelled.

        The doorbell's thread calls the hook, whether or not anybody writes; the hook
        must return quickly. If the stream is cancelled already, the hook is called now.

        The stream ends when its hooks have been called. So a hook has to stop only
        what makes the bytes, and a producer without a hook need not do anything: its
        next ``write`` returns False.

        Example::

            stopped = threading.Event()
            producer.on_cancel(stopped.set)
        """
        self._on_cancel.add(hook)

    def _ignore_cancel(self) -> None:
        """Call no stop hook from now on, and do not end the stream at a cancel."""
        self._ignores_cancel = True
        self._on_cancel.clear()

    def _look_for_cancel(self) -> None:
        """If the stream is cancelled, call its stop hooks and end it.

        The doorbell's thread calls this. A silent producer must not keep the readers of
        a cancelled stream waiting until its next ``write``.
        """
        if self.is_cancelled and not self._ignores_cancel:
            self._on_cancel.look()
            self._end(State.CANCELLED)

    def finish(self) -> None:
        r"""End the stream as complete, or as cancelled if it was cancelled. Idempotent.

        A cancelled stream ends with an event that tells the stop in its dialect. Blocks
        nothing, and raises nothing.

        Example::

            producer.write(b'data: [DONE]\n\n')
            producer.finish()
        """
        self._end(State.COMPLETE)

    def abort(self, error: str) -> None:
        """End the stream as aborted; its last event tells ``error``. Idempotent.

        A stream that has been cancelled ends as cancelled. A stream that has said
        itself that it is over ends as complete. Neither gets this event.
        ``shmstream.dialects.table`` says how each dialect tells an end, a failure and a
        stop. Blocks nothing, and raises nothing.

        Args:
            error: why the stream has failed.

        Example::

            producer.abort('the model is busy')
        """
        self._end(State.ABORTED, error)

    def cancel(self) -> None:
        """End the stream as cancelled, from the producer's own side. Idempotent.

        Blocks nothing, and raises nothing.

        Example::

            producer.cancel()
        """
        self._end(State.CANCELLED)

    def _abandon(self) -> None:
        """Forget the stream after a fork: stream and file lock are the parent's."""
        # Another thread of the parent may have held the lock.
        self._make_lock()
        self._ended = True
        self._file.close()

    def _end(self, state: State, error: str | None = None) -> None:
        # ``_let_go`` is called twice: an exception (of a signal handler) may interrupt
        # one of the two calls at any point, and to repeat the call does no harm.
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
            # From here on the stream is over, even if an exception ends this method.
            self._ended = True
            if self.is_cancelled:
                state, error = State.CANCELLED, None
            state = end_stream(self._segment, self._ring, state, error, self._cause)
            self._marker.mark_state(state)
            self._tell()
            self._process.counts.add(ENDED.of(state.label))
            self._words[W_CAUSE] |= COUNTED
            # Last, because no reader should wait for the log.
            tell(self._segment, self._request_id)

    def _let_go(self) -> None:
        # Under the lock, because another thread may be publishing the end.
        with self._lock:
            self._ended = True
            if not self._file.closed:
                # Unlocked explicitly: a forked child may share the open file
                # description, and would keep its lock.
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
            # A signal handler may have interrupted both before they did anything.
            self._let_go()

    def __del__(self) -> None:
        # After a fork the stream is still the parent's.
        if not self._ended and os.getpid() == self._pid:
            self._process.later(self._abort_dropped)

    def _abort_dropped(self) -> None:
        self.abort(DROPPED)
