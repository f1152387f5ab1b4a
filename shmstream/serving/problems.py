"""Errors as replies, in the form that OpenAI's clients read, sorted by who is to blame.

::

    4xx   the client    the request is wrong, or asks for something that is not there;
                        the message says what to change
    503   nobody        there is no room or no supervisor at the moment: the same
                        request may succeed later, and ``Retry-After`` says when
    500   the service   a mistake in shmstream or in the application: it is logged with
                        its traceback, and the client learns only that there was one
    502   the upstream  it could not be reached; 504 if it took too long
"""

from __future__ import annotations

import errno
import json
import logging
from typing import Any

from shmstream.errors import (
    ControlError,
    InvalidConversationId,
    LayoutMismatch,
    NoRoom,
    OffsetLost,
    StreamNotFound,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.metrics.catalogue import REFUSALS
from shmstream.metrics.counts import Counts
from shmstream.serving.reply import Reply

log = logging.getLogger('shmstream.serving')

JSON = 'application/json; charset=utf-8'

_TYPES = {
    400: 'invalid_request_error',
    401: 'authentication_error',
    403: 'permission_error',
    404: 'not_found_error',
    405: 'invalid_request_error',
    409: 'conflict_error',
    413: 'invalid_request_error',
    416: 'invalid_request_error',
    421: 'invalid_request_error',
    503: 'unavailable_error',
}

_CAUSES = {401: 'key', 408: 'slow', 413: 'too_large', 421: 'host'}

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})

RETRY_S = 2
"""The default of ``Retry-After``, in seconds: llama.cpp's web UI also retries after 2.
"""


class Problem(Exception):
    """An error to answer with.

    Args:
        status: HTTP status.
        message: what is wrong, and what to change.
        retry_after: seconds for the ``Retry-After`` header.
        cause: why the request is refused, for the metrics; by default what the status
            says. One of the values of ``metrics.catalogue.REFUSALS``.
        more: further members of the JSON error object.

    Example::

        def permit(request):
            if request.header(b'x-user') is None:
                raise Problem(401, 'Log in first')
            return owner_of(request.header(b'x-user').decode())
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: int | None = None,
        cause: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.cause = _CAUSES.get(status) if cause is None else cause
        self.more = more

    def reply(self) -> Reply:
        """Return the error as a reply.

        Example::

            assert Problem(503, 'Come again', retry_after=2).reply().status == 503
        """
        status = self.status
        kind = _TYPES.get(status, 'server_error' if status >= 500 else _TYPES[400])
        error = {'code': status, 'message': self.message, 'type': kind, **self.more}
        body = json.dumps({'error': error}).encode()
        headers = [
            (b'content-type', JSON.encode()),
            (b'content-length', b'%d' % len(body)),
        ]
        if self.retry_after is not None:
            headers.append((b'retry-after', b'%d' % self.retry_after))
        if status == 409:
            # OpenAI's clients repeat a request after a 409, unless this header forbids
            # it. A repeated POST would replace the newer stream.
            headers.append((b'x-should-retry', b'false'))
        if status == 416:
            headers.append((b'content-range', b'bytes */%d' % self.more['total_bytes']))
        if status == 401:
            headers.append((b'www-authenticate', b'Bearer'))
        return Reply(status, headers, body)


def problem_of(error: Exception, asked: str) -> Problem:
    """Return the problem to answer with. Logs the error if the service is to blame.

    Args:
        error: any exception.
        asked: the request, for the log.
    """
    match error:
        case Problem():
            return error
        case InvalidConversationId():
            return Problem(400, str(error))
        case StreamNotFound():
            return Problem(404, 'Stream not found or expired')
        case OffsetLost():
            return Problem(
                400,
                'Stream offset lost, please restart',
                dropped_prefix=error.dropped_prefix,
                total_bytes=error.total_bytes,
            )
        case StreamReplaced():
            return Problem(409, 'Stream was replaced', generation=error.generation)
        case NoRoom() | SupervisorUnavailable():
            return Problem(503, str(error), error.retry_after)
        case ControlError():
            log.error('refused by the supervisor: %s', error)
            return Problem(503, 'The supervisor refused the request', RETRY_S)
        case OSError() if error.errno in EXHAUSTED:
            log.error('%s', error)
            return Problem(503, 'Out of descriptors or memory', RETRY_S)
        case LayoutMismatch():
            return Problem(503, 'The stream was made by another version', RETRY_S)
    log.error('%s failed', asked, exc_info=error)
    return Problem(500, 'Internal error')


def count_refusal(counts: Counts, error: Exception) -> None:
    """Count an error, if it says that a request has been refused."""
    if isinstance(error, Problem) and error.cause is not None:
        counts.add(REFUSALS.of(error.cause))


def refusal(status: int, message: str) -> Reply:
    """Return a reply by which an application's ``permit`` can refuse a request.

    Example::

        def permit(request):
            return refusal(403, 'Nobody may')
    """
    return Problem(status, message).reply()
