"""OpenAI's Responses, found by the ``response.id`` that their first event tells.

The clients of OpenAI know no conversation ids. They come back by the id of the
response, which is the alias of its stream::

    GET  .../responses/ID?stream=true&starting_after=N   the events after number N, as
                                                         they were written; then live
    GET  .../responses/ID                                the response as one object
    POST .../responses/ID/cancel                         stops it; the object again

A response that the upstream makes in the background (``"background": true``) goes on
there when nobody reads it. So its cancel goes to the upstream, too, which answers it:
each cancel, unless the stream is complete, since the upstream may have failed to take
the one before. If we have lost such a response, only the upstream knows what becomes of
it, and is asked for all of it.

The object of a response that is over is that of its last event. Otherwise it is that of
its first event, with the status that the stream has now. An id that belongs to no
stream is the upstream's business.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from shmstream.consumer import MAX_OFFSET, Consumer
from shmstream.dialects.events import Event, first_events, last_events
from shmstream.errors import OffsetLost, StreamNotFound
from shmstream.ids import usable_alias
from shmstream.ring.state import State
from shmstream.serving.deployment import Aliased
from shmstream.serving.get_head_delete import Core, failed
from shmstream.serving.problems import JSON, Problem
from shmstream.serving.reply import Later, Reply
from shmstream.serving.request import Request
from shmstream.serving.sequence_number import offset_after
from shmstream.serving.start import Start

_PARTS = tuple(16 * 1024 * 4**times for times in range(7))
"""Bytes that are looked at for the first and the last events: a larger number if the
ones before it do not show them, up to 64 MiB, which is mostly all that there is."""

_SPLIT = 64
"""Events that are split off, at most, at the beginning or the end. Comments count."""

_FIRST = 8
"""Events that are looked at, at the beginning of a response."""

_LAST = 8
"""Events at the end of a response: if there are more, the end is not before them."""

_ERROR = 'error'
_ENDS = frozenset({'response.completed', 'response.failed', 'response.incomplete'})
_MAX_DIGITS = len(str(MAX_OFFSET))


class Responses:
    """Answers requests for responses. Each method blocks: it asks the supervisor.

    Args:
        streams: the deployment.
        core: sends the streams.
    """

    def __init__(self, streams: Aliased, core: Core) -> None:
        self._streams = streams
        self._core = core

    def retrieve(self, request: Request, response_id: str) -> Reply | Later | None:
        """Return the response, or its events; None: it belongs to no stream.

        Args:
            request: the request, with its owner.
            response_id: the id in its path.
        """
        return self._of(request, response_id, self._retrieved)

    def cancel(self, request: Request, response_id: str) -> Reply | Later | None:
        """Stop a response, and return it; None: the upstream has to answer.

        The stream stays until it expires.
        """
        return self._of(request, response_id, self._cancelled)

    def _of(
        self,
        request: Request,
        response_id: str,
        answer: Callable[[Request, Consumer], Reply | Later | None],
    ) -> Reply | Later | None:
        try:
            if usable_alias(response_id) is None:
                return None
            try:
                found = self._streams.open_alias(response_id, owner=request.owner)
            except StreamNotFound:
                return None
            return answer(request, found)
        except Exception as ex:
            return failed(request, ex)

    def _retrieved(self, request: Request, consumer: Consumer) -> Reply | Later | None:
        if consumer.state is State.ABORTED and _in_background(consumer):
            return None
        if not _wants_stream(request):
            return _object_of(consumer)
        # ``from``, ``as`` and other parameters mean nothing here, nor does ``Range``.
        plain = Request('GET', request.path, owner=request.owner)
        start = _start_of(request)
        plain.transport, plain.resumes = 'responses', start != 0
        return self._core.replay(plain, consumer, start)

    def _cancelled(self, request: Request, consumer: Consumer) -> Reply | None:
        if not consumer.finished:
            self._streams.cancel(
                consumer.conv_id, generation=consumer.generation, owner=request.owner
            )
        if consumer.state is not State.COMPLETE and _in_background(consumer):
            return None
        return _object_of(consumer)


def _wants_stream(request: Request) -> bool:
    asked = request.parameter(b'stream') or b''
    return asked.lower() in (b'true', b'1')


def _start_of(request: Request) -> Start:
    raw = request.parameter(b'starting_after')
    if raw is None:
        return 0
    if len(raw) > _MAX_DIGITS or not raw.isdigit() or int(raw) > MAX_OFFSET:
        raise Problem(400, "Invalid 'starting_after': not a plain number")
    return functools.partial(offset_after, number=int(raw))


# -- the object ------------------------------------------------------------------------


def _object_of(consumer: Consumer) -> Reply:
    body = json.dumps(response_of(consumer)).encode()
    headers = [
        (b'content-type', JSON.encode()),
        (b'cache-control', b'no-store'),
        (b'stream-generation', consumer.generation.encode()),
        (b'content-length', b'%d' % len(body)),
    ]
    return Reply(200, headers, body)


def response_of(consumer: Consumer) -> dict[str, Any]:
    """Return the object of a response as it is now.

    Args:
        consumer: the stream of the response.

    Raises:
        OffsetLost: the ring does not hold all of the last event.
    """
    # It is read first: if it is true, the state that is read after it is final.
    ended, state = consumer.finished, consumer.state
    if state is State.CANCELLED:
        return _begun(consumer) | {'status': 'cancelled'}
    if not ended:
        return _begun(consumer)
    last = _last_event(consumer)
    if last is None:
        if consumer.dropped_prefix:
            raise OffsetLost(0, consumer.dropped_prefix, consumer.total_bytes)
        if state is State.COMPLETE:
            return _begun(consumer) | {'status': 'completed'}
    elif last.type != _ERROR and state is State.COMPLETE:
        told: dict[str, Any] = last.fields['response']
        return told
    message = consumer.untold_failure if last is None else last.fields.get('message')
    error = {'code': 'server_error', 'message': message or 'the response has failed'}
    return _begun(consumer) | {'status': 'failed', 'error': error}


def _last_event(consumer: Consumer) -> Event | None:
    """Return the event that says that the response is over, or has failed."""
    total, dropped = consumer.total_bytes, consumer.dropped_prefix
    for size in _PARTS:
        first = max(total - size, dropped)
        # An event that has lost its beginning is no JSON any more, and is not found.
        found = last_events(_read(consumer, first, size), _SPLIT)
        for event in reversed(found):
            told = event.fields.get('response')
            if event.type == _ERROR or (event.type in _ENDS and isinstance(told, dict)):
                return event
        if first == dropped or len(found) > _LAST:
            break
    return None


def _begun(consumer: Consumer) -> dict[str, Any]:
    """Return the object of a response as its first events tell it.

    If the ring has dropped them, the object has what every response has.
    """
    for size in _PARTS:
        data = b'' if consumer.dropped_prefix else _read(consumer, 0, size)
        found = first_events(data, _SPLIT)
        told = [
            event.fields.get('response')
            for event in found[:_FIRST]
            if event.type not in _ENDS
        ]
        objects = [response for response in told if isinstance(response, dict)]
        if objects:
            # The first event may say ``queued``, and the next one ``in_progress``.
            return objects[-1]
        if len(data) < size or len(found) > _FIRST:
            break
    return {
        'id': consumer.alias,
        'object': 'response',
        'created_at': int(consumer.started_at),
        'status': 'in_progress',
        'error': None,
        'incomplete_details': None,
        'output': [],
        'parallel_tool_calls': True,
        'tool_choice': 'auto',
        'tools': [],
    }


def _in_background(consumer: Consumer) -> bool:
    """Whether the upstream goes on with a response that nobody reads."""
    return _begun(consumer).get('background') is True


def _read(consumer: Consumer, offset: int, size: int) -> bytes:
    try:
        return consumer.read(offset, size)
    except OffsetLost:
        return b''
