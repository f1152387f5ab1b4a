"""Spans of OpenTelemetry, in a worker that uses it.

A worker uses it if something in it has imported ``opentelemetry.trace``: the operator's
``post_fork``, or instrumentation. Nothing here imports it first, so a worker without it
pays one look into ``sys.modules`` for a POST, and one for a GET that resumes::

    shmstream.post          from the POST to the end of its stream
      shmstream.upstream      from the request to the upstream to the end of its answer
        shmstream.first_byte    until the stream has its first byte
    shmstream.resume        a GET that goes on after a stream's beginning; it is linked
                            to the ``shmstream.post`` of the stream

The parent of a POST or a GET is the active span, or else what its ``traceparent``
names. The upstream gets the ``traceparent`` of ``shmstream.upstream``. Attributes tell
what the line about the stream tells, without ids of conversations.

A POST that does not announce its stream gets its span when the answer turns out to be
one. Its request upstream carries the headers of the client unchanged.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shmstream import clock
from shmstream.asgi.stalled import Reader
from shmstream.internals import first_byte_ns, life_of, trace_of_stream
from shmstream.logs.trace_context import TraceContext
from shmstream.producer import Producer
from shmstream.serving.problems import Problem
from shmstream.serving.request import Request
from shmstream.upstream.source import UpstreamRequest
from shmstream.version import __version__

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_MODULE = 'opentelemetry.trace'

_TOLD = ('generation', 'state', 'cause', 'bytes', 'followers', 'resumes')
"""Fields of the line about a stream that are attributes of its span."""

_made: tuple[object, Tracer] | None = None
"""The provider that was asked last, and its tracer."""


def _tracer() -> Tracer | None:
    """Return the tracer; None if OpenTelemetry is not used in this process."""
    global _made
    trace = sys.modules.get(_MODULE)
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if _made is None or _made[0] is not provider:
        _made = provider, trace.get_tracer('shmstream', __version__)
    return _made[1]


def _parent(headers: Iterable[tuple[bytes, bytes]]) -> Context | None:
    """Return the context of the request; None: that of the active span."""
    from opentelemetry import propagate, trace

    if trace.get_current_span().get_span_context().is_valid:
        return None
    carrier = {n.decode('latin-1').lower(): v.decode('latin-1') for n, v in headers}
    return propagate.extract(carrier)


class PostSpans:
    """The spans of one POST. Made by ``of_post``, and ended once.

    Args:
        tracer: makes the spans.
        parent: the context of the request.
    """

    def __init__(self, tracer: Tracer, parent: Context | None) -> None:
        from opentelemetry.trace import SpanKind

        self._tracer = tracer
        self._post = tracer.start_span('shmstream.post', parent, SpanKind.SERVER)
        self._upstream: Span | None = None
        self._asked_ns = self._asked_wall_ns = 0

    def trace(self, came: TraceContext) -> TraceContext:
        """Return the ids for the log: those of the span, if it is a real one.

        Args:
            came: the ids that came with the request.
        """
        found = self._post.get_span_context()
        if not found.is_valid:
            return came
        return TraceContext(came.request_id, found.trace_id, found.span_id)

    def asks(self, request: UpstreamRequest) -> UpstreamRequest:
        """Begin the upstream's span; return the request that carries it."""
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind, set_span_in_context

        inside = set_span_in_context(self._post)
        span = self._tracer.start_span('shmstream.upstream', inside, SpanKind.CLIENT)
        self._upstream = span
        self._asked_ns, self._asked_wall_ns = clock.now_ns(), time.time_ns()
        carrier: dict[str, str] = {}
        propagate.inject(carrier, set_span_in_context(span))
        if not carrier:
            return request
        kept = [(n, v) for n, v in request.headers if n.lower() not in carrier]
        return replace(request, headers=[*kept, *carrier.items()])

    def answered(self, status: int) -> None:
        """Note the status of the upstream's answer."""
        if self._upstream is not None:
            self._upstream.set_attribute('http.response.status_code', status)

    def end(self, producer: Producer | None) -> None:
        """End all spans.

        Args:
            producer: the producer of the stream, which has ended; None: there is none.
        """
        from opentelemetry.trace import StatusCode

        if producer is not None:
            self._note_first_byte(first_byte_ns(producer))
            fields = life_of(producer)
            for name in _TOLD:
                self._post.set_attribute(f'shmstream.{name}', fields[name])
            if fields['state'] == 'aborted':
                self._post.set_status(StatusCode.ERROR, str(fields['cause']))
        if self._upstream is not None:
            self._upstream.end()
        self._post.end()

    def _note_first_byte(self, at_ns: int) -> None:
        if self._upstream is None or not at_ns:
            return
        from opentelemetry.trace import set_span_in_context

        # Made afterwards, so that no write has to know of spans.
        began_ns = self._asked_wall_ns
        self._tracer.start_span(
            'shmstream.first_byte',
            set_span_in_context(self._upstream),
            start_time=began_ns,
        ).end(began_ns + max(at_ns - self._asked_ns, 0))


def of_post(headers: Iterable[tuple[bytes, bytes]]) -> PostSpans | None:
    """Begin the spans of a POST; None if OpenTelemetry is not used.

    Args:
        headers: of the POST.
    """
    tracer = _tracer()
    return None if tracer is None else PostSpans(tracer, _parent(headers))


def resumes(request: Request) -> bool:
    """Whether a request goes on within a stream, and OpenTelemetry is used."""
    if _MODULE not in sys.modules or request.method != 'GET':
        return False
    try:
        start = request.start()
    except Problem:
        return False
    return isinstance(start, bytes) or start > 0


async def resuming(
    answering: Awaitable[None], request: Request, reader: Reader
) -> None:
    """Answer a request that resumes, within a span.

    Args:
        answering: answers it.
        request: the request.
        reader: the response under way.
    """
    from opentelemetry.trace import SpanKind

    tracer = _tracer()
    assert tracer is not None
    span: Any = tracer.start_span(
        'shmstream.resume', _parent(request.headers), SpanKind.SERVER
    )
    if isinstance(start := request.start(), int):
        span.set_attribute('shmstream.from', start)
    try:
        await answering
    except asyncio.CancelledError:
        span.set_attribute('shmstream.cut', True)
        raise
    finally:
        _link(span, reader)
        span.end()


def _link(span: Span, reader: Reader) -> None:
    """Link a span to that of the POST whose stream is sent, if it has one."""
    from opentelemetry.trace import SpanContext

    if reader.source is None:
        return
    span.set_attribute('shmstream.generation', reader.source.generation)
    trace_id, span_id = trace_of_stream(reader.source)
    if trace_id and span_id:
        span.add_link(SpanContext(trace_id, span_id, is_remote=True))
