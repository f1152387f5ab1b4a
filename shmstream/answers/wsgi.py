"""``Answers`` for frameworks under WSGI: what does not depend on the framework."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from shmstream.answers.beginning import Beginning, begun, of_environment, refused
from shmstream.ids import NOBODY
from shmstream.producing.running import here
from shmstream.producing.sources import close_blocking
from shmstream.serving.get_head_delete import Core, failed, suited
from shmstream.serving.lookup import MAX_BYTES, look_up
from shmstream.serving.permit import Verdict, apply
from shmstream.serving.problems import Problem
from shmstream.serving.reply import Reply
from shmstream.serving.request import Request
from shmstream.settings import send_timeout
from shmstream.streams import Streams
from shmstream.wsgi.application import answered, body_of
from shmstream.wsgi.reader_threads import ReaderThreads

log = logging.getLogger('shmstream')


class WsgiAnswers:
    """Begins answers, and answers the requests for them. All of it blocks.

    Args:
        streams: the deployment; None: that of the environment.
        permit: returns what the client of a framework's request may do; None:
            everybody may read and stop every stream.
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading a stream that is gone; None: ``$SHMSTREAM_SEND_TIMEOUT``.
        readers: readers of this process, at most; None: ``$SHMSTREAM_READER_SHARE`` of
            its threads.

    Attributes:
        streams: the deployment.

    Raises:
        LocalError: ``readers`` is below 1.
        SettingsError: a setting of the environment cannot be used.
    """

    def __init__(
        self,
        streams: Streams | None,
        permit: Callable[[Any], Verdict] | None,
        timeout_s: float | None,
        readers: int | None = None,
    ) -> None:
        self._readers = ReaderThreads(readers)
        self.streams = of_environment() if streams is None else streams
        self._permit = permit
        self._core = Core(self.streams)
        self._timeout_s = send_timeout() if timeout_s is None else timeout_s

    def verdict(self, asked: Any) -> Verdict:
        """Return what the client may do.

        Args:
            asked: the framework's request.

        Raises:
            Whatever ``permit`` raises.
        """
        return NOBODY if self._permit is None else self._permit(asked)

    def body(self, reply: Reply, environ: dict[str, Any]) -> Any:
        """Return the iterable body of a reply; the server has to call its ``close``."""
        return body_of(reply, environ, self._timeout_s)

    def read_or_stop(self, request: Request, asked: Any) -> Reply:
        """Return the reply to a GET, HEAD or DELETE.

        Args:
            request: the request.
            asked: the framework's request.

        Raises:
            Whatever ``permit`` raises.
        """
        refusal = apply(self.verdict(asked), request)
        if refusal is not None:
            return suited(request, refusal)
        return answered(self._core, request, self._readers)

    def begin(
        self,
        beginning: Beginning,
        request: Request,
        asked: Any,
        mount: str | None,
        context: Context | None = None,
    ) -> Reply:
        """Begin an answer, and return the reply that sends it.

        The request becomes a reader. If it cannot, the answer does not begin.

        Args:
            beginning: the answer.
            request: the request that asks for it.
            asked: the framework's request.
            mount: the path under which the client finds streams; None: nobody knows it.
            context: the source runs in a copy of it; None: of the caller's.

        Raises:
            Whatever ``permit`` raises.
        """
        try:
            refusal = refused(self.verdict(asked), request)
        except BaseException:
            close_blocking(beginning.source)
            raise
        place = None
        if refusal is None:
            try:
                place = self._readers.take()
            except Problem as ex:
                refusal = ex.reply()
        if place is None:
            close_blocking(beginning.source)
            assert refusal is not None
            return refusal
        if here.drain is None:
            _warn_once()
        try:
            within = copy_context() if context is None else context
            reply = within.run(self._started, beginning, request, mount)
        except BaseException as ex:
            # At once: whoever keeps the exception keeps the place, too.
            place.give_back()
            if isinstance(ex, Exception):
                return failed(request, ex)
            raise
        reply.place = place
        return reply

    def _started(
        self, beginning: Beginning, request: Request, mount: str | None
    ) -> Reply:
        started = self.streams.start_in_thread(
            beginning.conv_id,
            beginning.source,
            format=beginning.format,
            capacity=beginning.capacity,
            owner=request.owner,
        )
        return begun(started, mount)

    def look_up(self, body: bytes, request: Request, asked: Any) -> Reply:
        """Return the reply to a look-up.

        Args:
            body: the body, or its first ``MAX_BYTES + 1`` bytes.
            request: the request.
            asked: the framework's request.

        Raises:
            Whatever ``permit`` raises.
        """
        refusal = refused(self.verdict(asked), request)
        if refusal is not None:
            return refusal
        if len(body) > MAX_BYTES:
            return Problem(413, f'The body has more than {MAX_BYTES} bytes').reply()
        later = look_up(self.streams, body, request.owner)
        return later if isinstance(later, Reply) else later.work()

    def stop_chat(
        self, body: Callable[[], bytes], request: Request, asked: Any
    ) -> Reply:
        """Return the reply to a POST by which the page of a chat stops its stream.

        Args:
            body: reads the body, of which ``MAX_STOP_BYTES`` may be needed, and one
                more. A ``Problem`` that it raises is the reply.
            request: the request.
            asked: the framework's request.

        Raises:
            Whatever else ``permit`` or ``body`` raises.
        """
        refusal = refused(self.verdict(asked), request)
        if refusal is not None:
            return refusal
        try:
            text = body()
        except Problem as ex:
            return ex.reply()
        return self._core.stop_chat(request, text).work()


@functools.cache
def _warn_once() -> None:
    log.warning(
        "this process has not shmstream's hooks for gunicorn: its answers end with it,"
        ' and the number of its threads does not bound its readers. Put two lines at'
        ' the end of your gunicorn.conf.py: "from shmstream.deploy import hooks" and'
        ' "hooks.install(globals())"'
    )
