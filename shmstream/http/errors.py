"""How errors look: OpenAI's shape, whatever went wrong."""

from __future__ import annotations

import errno
import json
import logging
from typing import Any

import falcon
import falcon.asgi

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

log = logging.getLogger('shmstream.http')

JSON = 'application/json; charset=utf-8'

_TYPES = {
    400: 'invalid_request_error',
    401: 'authentication_error',
    404: 'not_found_error',
    405: 'invalid_request_error',
    409: 'conflict_error',
    413: 'invalid_request_error',
    503: 'unavailable_error',
}

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC})

NOT_FOUND = 'Stream not found or expired'
OFFSET_LOST = 'Stream offset lost, please restart'
REPLACED = 'Stream was replaced'


class Problem(Exception):
    """An error to answer with.

    Args:
        status: HTTP status.
        message: what is wrong, and what to change.
        retry_after: seconds for the ``Retry-After`` header.
        more: further members of the error object.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.more = more


def error_body(status: int, message: str, **more: Any) -> bytes:
    """Return the body of an error answer."""
    kind = _TYPES.get(status, 'server_error' if status >= 500 else _TYPES[400])
    error = {'code': status, 'message': message, 'type': kind, **more}
    return json.dumps({'error': error}).encode()


def _answer(resp: falcon.asgi.Response, problem: Problem) -> None:
    resp.status = problem.status
    resp.content_type = JSON
    resp.data = error_body(problem.status, problem.message, **problem.more)
    resp.stream = None
    if problem.retry_after is not None:
        resp.set_header('Retry-After', str(problem.retry_after))


def _problem(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case InvalidConversationId():
            return Problem(400, str(error))
        case StreamNotFound():
            return Problem(404, NOT_FOUND)
        case OffsetLost():
            return Problem(
                400,
                OFFSET_LOST,
                dropped_prefix=error.dropped_prefix,
                total_bytes=error.total_bytes,
            )
        case StreamReplaced():
            return Problem(409, REPLACED, generation=error.generation)
        case NoRoom() | SupervisorUnavailable():
            return Problem(503, str(error), error.retry_after)
        case ControlError():
            log.error('refused by the supervisor: %s', error)
            return Problem(503, 'The supervisor refused the request', 2)
        case OSError() if error.errno in EXHAUSTED:
            log.error('%s', error)
            return Problem(503, 'Out of descriptors or memory', 2)
        case LayoutMismatch():
            return Problem(503, 'The stream was made by another version', 2)
    raise error


async def _handle(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response | None,
    error: Exception,
    params: dict[str, Any],
    **_: Any,
) -> None:
    try:
        problem = _problem(error)
    except Exception:
        await _handle_unexpected(req, resp, error, params)
        return
    if resp is not None:
        _answer(resp, problem)


async def _handle_unexpected(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response | None,
    error: Exception,
    params: dict[str, Any],
    **_: Any,
) -> None:
    log.exception('%s %s failed', req.method, req.path, exc_info=error)
    if resp is not None:
        _answer(resp, Problem(500, 'Internal error'))


async def _handle_http(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response | None,
    error: falcon.HTTPError,
    params: dict[str, Any],
    **_: Any,
) -> None:
    if resp is None:
        return
    status = falcon.http_status_to_code(error.status)
    _answer(resp, Problem(status, error.description or error.title or 'Error'))
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)


def install(app: falcon.asgi.App[Any, Any]) -> None:
    """Have the application answer every error in this shape."""
    # Most specific last: Falcon asks the handlers in the order of the classes.
    app.add_error_handler(Exception, _handle_unexpected)
    for kind in (
        Problem,
        InvalidConversationId,
        StreamNotFound,
        OffsetLost,
        StreamReplaced,
        NoRoom,
        SupervisorUnavailable,
        LayoutMismatch,
        ControlError,
        OSError,
    ):
        app.add_error_handler(kind, _handle)
    app.add_error_handler(falcon.HTTPError, _handle_http)
