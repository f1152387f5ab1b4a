"""An answer task: it puts an upstream's answer into a stream.

It is what a production runs (``producing.task``), so it does not belong to the request
that began it: if the client leaves, the task goes on. It ends when the upstream's
answer or the process ends, when the stream is cancelled or replaced, and, if its policy
says so, when nobody listens.

::

    create the stream (pending)
      |  the request is whole (``ask``), the upstream answers
      |-- streamed 2xx --> begin, answer with the stream, chunks into the ring, finish
      |-- other ---------> withdraw the stream, answer with the upstream's own answer
      |-- unreachable ---> withdraw the stream, answer with 502 or 504
      |-- no request ----> withdraw the stream (``withdraw``)
      '-- cancelled -----> answer with 400 "request cancelled"

If the POST was sent upstream without a session, and its answer is a stream after all,
the task begins with this answer, and does not ask the upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Collection

from shmstream.errors import ShmstreamError
from shmstream.http.answer_writer import write_answer
from shmstream.http.ask_upstream import ask, becomes_stream
from shmstream.http.listeners import cancel_unheard
from shmstream.http.spans import PostSpans
from shmstream.http.uploads import Upload
from shmstream.internals import ignore_cancel, note_request, note_upstream_status
from shmstream.kept_headers import to_keep
from shmstream.logs.trace_context import NO_TRACE, TraceContext
from shmstream.producer import Producer
from shmstream.producing.pace import Pace
from shmstream.producing.running import here
from shmstream.producing.task import ProducingTask
from shmstream.serving.problems import Problem
from shmstream.setting_parsers import OnDisconnect
from shmstream.streams import Streams
from shmstream.upstream.source import Answer, Headers, Source, UpstreamRequest, header

log = logging.getLogger('shmstream.http')

_LEAVING = 'This worker is leaving, ask again'


class Streamed:
    """The upstream's answer has become a stream.

    Attributes:
        producer: the stream's producer. It is for reading the stream's segment: only
            the answer task writes.
        status: the status of the upstream's answer, a 2xx.
        headers: the upstream's headers.
    """

    def __init__(self, producer: Producer, status: int, headers: Headers) -> None:
        self.producer = producer
        self.status = status
        self.headers = headers


class AnswerTask:
    """The task of one POST with a conversation id.

    Args:
        streams: the deployment.
        source: answers the request: the upstream, or the demo model.
        conv_id: the conversation id, which is valid.
        owner: the owner of the stream.
        on_disconnect: what to do when nobody listens.
        answered: a streamed 2xx answer that has already arrived. The task closes it.
            None if the task has to ask the upstream.
        stream_types: media types that become streams, beside the usual ones.
        trace: the ids of the POST, for the log.
        spans: the spans of the POST, which the task ends; None: there are none.

    Attributes:
        pace: waits for the client of the POST.
    """

    def __init__(
        self,
        streams: Streams,
        source: Source,
        conv_id: str,
        owner: bytes,
        on_disconnect: OnDisconnect,
        answered: Answer | None = None,
        stream_types: Collection[str] = (),
        trace: TraceContext = NO_TRACE,
        spans: PostSpans | None = None,
    ) -> None:
        self._streams = streams
        self._source = source
        self._conv_id = conv_id
        self._owner = owner
        self._answered = answered
        self.pace = Pace()
        self._grace_s = on_disconnect.grace_s
        self._stream_types = stream_types
        self._spans = spans
        self._trace = trace if spans is None else spans.trace(trace)
        self._loop = asyncio.get_running_loop()
        self._attended = True
        self._producer: Producer | None = None
        self._production = ProducingTask()
        self._request: UpstreamRequest | None = None
        self._asked: asyncio.Future[None] = self._loop.create_future()
        self._answer: asyncio.Future[Streamed | Answer] = self._loop.create_future()
        here.add(self._production)
        on_end = functools.partial(here.remove, self._production)
        self.task = self._production.begin(self, on_end)
        # A task that is cancelled before its first step runs none of its code, so the
        # failure is set here.
        self.task.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        self._fail(Problem(503, _LEAVING, 2, 'leaving'))
        if self._answered is not None:
            self._answered.close()
        if self._spans is not None:
            self._spans.end(self._producer)

    def ask(self, request: UpstreamRequest) -> None:
        """Send this request upstream as soon as the session exists."""
        self._request = request
        if self.task.done() or self._asked.cancelled():
            self._let_go_of_body()
        elif not self._asked.done():
            self._asked.set_result(None)

    def withdraw(self) -> None:
        """Remove the session, because the request did not arrive whole.

        Called instead of ``ask``.
        """
        self.pace.left()
        self._attended = False
        if not self._asked.done():
            self._asked.set_result(None)

    @property
    def failed(self) -> bool:
        """Whether the POST gets an error, and no answer."""
        return self._answer.done() and self._answer.exception() is not None

    def on_failure(self, action: Callable[[], object]) -> None:
        """Call ``action`` when the task fails; see ``failed``."""
        self._answer.add_done_callback(lambda _: action() if self.failed else None)

    async def answer(self) -> Streamed | Answer:
        """Wait for the answer to the POST. The caller has to close an ``Answer``.

        If the wait is cancelled, the task goes on.

        Raises:
            Problem: the error to answer with.
            NoRoom, SupervisorUnavailable: no stream could be made.
        """
        try:
            return await asyncio.shield(self._answer)
        except asyncio.CancelledError:
            self.pace.left()
            if self._answer.done() and not self._answer.exception():
                answer = self._answer.result()
                if not isinstance(answer, Streamed):
                    answer.close()
            raise
        finally:
            self._attended = False

    async def run(self) -> None:
        """Put the answer into the stream; called by the production."""
        try:
            await self._generate()
        except asyncio.CancelledError:
            self._stopped()
        except Exception as ex:
            if self._production.cancelled.is_set():
                # The stream was ended by another thread just now, so that this task
                # could not go on with it. It is cancelled in the loop's next turn.
                self._stopped()
            else:
                self._let_go_of_body()
                self._fail(ex)

    def _stopped(self) -> None:
        self._let_go_of_body()
        if self._producer is not None and self._producer.is_cancelled:
            self._fail(Problem(400, 'request cancelled'))
        # Otherwise the worker leaves: see ``_end``.

    def _let_go_of_body(self) -> None:
        # The exception's traceback would keep the part of the request body that the
        # upstream has not taken. If an answer comes before the whole body is sent, this
        # is not called, because the rest of the body is still sent then.
        if self._request is not None and isinstance(self._request.body, Upload):
            self._request.body.close()

    def _fail(self, error: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(error)
            # The exception is retrieved here: if the client has left, nobody else
            # retrieves it, and asyncio would log that as a mistake.
            self._answer.exception()
        elif not isinstance(error, Problem):
            log.error('answer task failed', exc_info=error)

    def stop(self) -> None:
        """Stop the answer, from any thread; called by the production."""
        with contextlib.suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        self.task.cancel()

    async def _generate(self) -> None:
        producer = await asyncio.to_thread(
            self._streams.create, self._conv_id, pending=True, owner=self._owner
        )
        self._producer = producer
        note_request(producer, self._trace)
        with contextlib.ExitStack() as stack:
            stack.callback(producer.abort, 'the answer task was interrupted')
            self._production.writes(producer)
            if self._grace_s is not None:
                watch = self._end_unheard(producer, self._grace_s)
                stack.callback(self._loop.create_task(watch).cancel)
            answer = self._answered or await self._ask_upstream(producer)
            note_upstream_status(producer, answer.status)
            if self._spans is not None:
                self._spans.answered(answer.status)
            if self._answered is None and not self._is_stream(answer):
                await self._hand_on(producer, answer)
                return
            stack.callback(answer.close)
            kept = to_keep(answer.headers)
            producer.begin(header(answer.headers, 'content-type'), kept)
            self._answer.set_result(Streamed(producer, answer.status, answer.headers))
            await write_answer(self._streams, self.pace, producer, answer)

    async def _ask_upstream(self, producer: Producer) -> Answer:
        await self._asked
        try:
            if self._request is None:
                raise Problem(400, 'The body ended early')
            asked = self._request
            if self._spans is not None:
                asked = self._spans.asks(asked)
            return await ask(self._source, asked)
        except Problem:
            await self._discard(producer)
            raise

    def _is_stream(self, answer: Answer) -> bool:
        assert self._request is not None
        return becomes_stream(self._request, answer, self._stream_types)

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
        """Remove the stream.

        If a stream had the id before, and has ended, readers find that stream again.
        """
        ignore_cancel(producer)
        try:
            # The stream is evicted before it ends: otherwise a reader that waits for
            # the stream to begin would take the stream's end for an answer.
            await asyncio.to_thread(
                self._streams.withdraw,
                self._conv_id,
                generation=producer.generation,
                owner=self._owner,
            )
        except ShmstreamError as ex:
            log.warning('stream %s is not removed: %s', producer.generation, ex)
        finally:
            producer.cancel()

    async def _end_unheard(self, producer: Producer, grace_s: float) -> None:
        await cancel_unheard(producer, lambda: self._attended, grace_s)
        self.task.cancel()
