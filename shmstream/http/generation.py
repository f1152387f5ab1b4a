"""A generation: one answer on its way from upstream into a ring.

A task of its own, not part of the request that began it: the client may leave, the
generation goes on. Only a cancel, a replacement, its policy (nobody listens), the end
of its source or the end of its process stop it.

::

    run():  create session (pending)
              |  upstream answers
              |-- streamed 2xx --> begin, answer = STREAM, chunks into the ring, finish
              |-- other ---------> evict the session, answer = the upstream's own
              |-- unreachable ---> evict the session, answer = 502 / 504
              '-- cancelled -----> answer = 400 "request cancelled"
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection

from shmstream.errors import ShmstreamError
from shmstream.http.pump import pump
from shmstream.http.uploads import Upload
from shmstream.producer import Producer
from shmstream.serving.problems import Problem
from shmstream.settings import OnDisconnect
from shmstream.streams import Streams
from shmstream.upstream.source import (
    Answer,
    Headers,
    Source,
    UpstreamRequest,
    UpstreamTimeout,
    UpstreamUnreachable,
    header,
    is_stream,
)
from shmstream.wakeups.hub_on_loop import LoopHub

log = logging.getLogger('shmstream.http')

_LOOK_S = 0.25
"""How often a generation that may be cancelled looks for listeners."""

_HANDOVER_S = 1.0
"""The least that nobody may listen: between a POST's headers and its first read."""


_LEAVING = 'This worker is leaving, ask again'

_ARRIVAL_TURNS = 200
"""Turns of the loop that the POST's own response has to begin to read."""


class Streamed:
    """The upstream's answer has become a stream.

    Attributes:
        producer: its producer, for its segment; only the generation writes.
        headers: the upstream's headers.
    """

    def __init__(self, producer: Producer, headers: Headers) -> None:
        self.producer = producer
        self.headers = headers


class Generation:
    """One POST with a conversation id.

    Args:
        streams: the deployment.
        source: what answers.
        conv_id: the id, valid.
        owner: whose it is.
        asked: the request to send upstream.
        on_disconnect: what to do when nobody listens.
        stream_types: media types that become sessions, beside the usual ones.
    """

    def __init__(
        self,
        streams: Streams,
        source: Source,
        conv_id: str,
        owner: bytes,
        asked: UpstreamRequest,
        on_disconnect: OnDisconnect,
        stream_types: Collection[str] = (),
    ) -> None:
        self._streams = streams
        self._source = source
        self._conv_id = conv_id
        self._owner = owner
        self._asked = asked
        self._grace_s = on_disconnect.grace_s
        self._stream_types = stream_types
        self._loop = asyncio.get_running_loop()
        self._attended = True
        self._awaited = True
        self._producer: Producer | None = None
        self._answer: asyncio.Future[Streamed | Answer] = self._loop.create_future()
        self.task = self._loop.create_task(self._run())
        # A task that is cancelled before its first step runs none of its code.
        self.task.add_done_callback(lambda _: self._fail(Problem(503, _LEAVING, 2)))

    async def answer(self) -> Streamed | Answer:
        """Wait for what there is to answer; whoever gets an ``Answer`` closes it.

        Cancelling the wait leaves the generation running.

        Raises:
            Problem: the error to answer with.
            NoRoom, SupervisorUnavailable: no session could be made.
        """
        try:
            return await asyncio.shield(self._answer)
        except asyncio.CancelledError:
            self.heard()
            if self._answer.done() and not self._answer.exception():
                answer = self._answer.result()
                if not isinstance(answer, Streamed):
                    answer.close()
            raise
        finally:
            self._attended = False

    def heard(self) -> None:
        """The POST's own response reads now, or never will: nobody else is due."""
        self._awaited = False

    async def abort(self, why: str) -> None:
        """End it now, in-band; for a worker that cannot wait any longer."""
        # Nobody cancelled the request: who still waits for its answer may ask again.
        self._fail(Problem(503, _LEAVING, 2))
        if self._producer is not None:
            self._producer.abort(why)
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        try:
            await self._generate()
        except asyncio.CancelledError:
            # Ours: a cancel of the stream, or the worker's end.
            self._let_go_of_body()
            self._fail(Problem(400, 'request cancelled'))
        except Exception as ex:
            self._let_go_of_body()
            self._fail(ex)

    def _let_go_of_body(self) -> None:
        # The traceback would keep what the upstream has not taken. An answer that came
        # before all of it was sent is another matter: the rest goes on.
        if isinstance(self._asked.body, Upload):
            self._asked.body.close()

    def _fail(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            # Its client may have left: that nobody asks for it is no mistake.
            self._answer.exception()
        elif not isinstance(error, Problem):
            log.error('generation failed', exc_info=error)

    async def _generate(self) -> None:
        producer = await asyncio.to_thread(
            self._streams.create, self._conv_id, pending=True, owner=self._owner
        )
        self._producer = producer
        with contextlib.ExitStack() as stack:
            stack.callback(producer.abort, 'the generation was interrupted')
            producer.on_cancel(self._stop_threadsafe)
            if self._grace_s is not None:
                watcher = self._loop.create_task(self._watch_listeners(producer))
                stack.callback(watcher.cancel)
            try:
                answer = await self._source.send(self._asked)
            except UpstreamTimeout as ex:
                await self._discard(producer)
                raise Problem(504, str(ex)) from ex
            except UpstreamUnreachable as ex:
                await self._discard(producer)
                raise Problem(502, str(ex)) from ex
            if not is_stream(answer, self._stream_types):
                await self._hand_on(producer, answer)
                return
            stack.callback(answer.close)
            producer.begin(header(answer.headers, 'content-type'))
            self._answer.set_result(Streamed(producer, answer.headers))
            await pump(self._streams, producer, answer, self._have_delivered)

    async def _have_delivered(self, hub: LoopHub) -> None:
        """Let this loop's readers have what has been written.

        Turns, not a wait for anybody: who cannot take it by then is overtaken.
        """
        hub.look()
        await asyncio.sleep(0)
        for _ in range(_ARRIVAL_TURNS):
            if not self._awaited:
                return
            await asyncio.sleep(0)
        self._awaited = False

    async def _hand_on(self, producer: Producer, answer: Answer) -> None:
        try:
            await self._discard(producer)
        except BaseException:
            answer.close()
            raise
        if self._attended:
            self._answer.set_result(answer)
        else:
            answer.close()

    async def _discard(self, producer: Producer) -> None:
        """Leave no session behind: there is nothing to resume."""
        producer.ignore_cancel()
        try:
            # Evicted before it ends: who waits for it must not take it for an answer.
            await asyncio.to_thread(
                self._streams.evict,
                self._conv_id,
                generation=producer.generation,
                owner=self._owner,
            )
        except ShmstreamError as ex:
            log.warning('stream %s is left: %s', producer.generation, ex)
        finally:
            producer.cancel()

    def _stop_threadsafe(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        # Now, not when the task has unwound: followers wait for the final state.
        if self._producer is not None:
            self._producer.finish()
        self.task.cancel()

    async def _watch_listeners(self, producer: Producer) -> None:
        assert self._grace_s is not None
        grace_s = max(self._grace_s, _HANDOVER_S)
        last_heard = self._loop.time()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = self._loop.time()
            if self._attended or producer.followers:
                last_heard = now
            elif now - last_heard >= grace_s:
                log.info('stream %s: nobody listens, cancelled', producer.generation)
                producer.cancel()
                self.task.cancel()
                return


class Generations:
    """The generations of this worker."""

    def __init__(self) -> None:
        self._running: set[Generation] = set()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, generation: Generation) -> Generation:
        """Keep it until it ends."""
        self._running.add(generation)
        generation.task.add_done_callback(lambda _: self._running.discard(generation))
        return generation

    async def wait(self, wait_s: float) -> None:
        """Wait until all have ended, or for so many seconds."""
        if self._running:
            await asyncio.wait([g.task for g in self._running], timeout=wait_s)

    async def abort_all(self) -> None:
        """Abort, in-band, what still runs."""
        for generation in list(self._running):
            await generation.abort('the producing worker has shut down')
