"""Falcon's error handlers: they answer every error in the core's form."""

from __future__ import annotations

from typing import Any

import falcon
import falcon.asgi

from shmstream.http.replies import put
from shmstream.internals import counts_of
from shmstream.serving.problems import Problem, count_refusal, problem_of
from shmstream.streams import Streams


async def _handle_http(
    _req: falcon.asgi.Request,
    resp: falcon.asgi.Response | None,
    error: falcon.HTTPError,
    _params: dict[str, Any],
    **_: Any,
) -> None:
    if resp is None:
        return
    status = falcon.http_status_to_code(error.status)
    put(Problem(status, error.description or error.title or 'Error').reply(), resp)
    for name, value in dict(error.headers or {}).items():
        resp.set_header(name, value)


def install(app: falcon.asgi.App[Any, Any], streams: Streams) -> None:
    """Have the application answer every error in the core's form.

    Args:
        app: the application.
        streams: the process of these streams counts the requests that are refused.
    """

    async def handle(
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response | None,
        error: Exception,
        _params: dict[str, Any],
        **_: Any,
    ) -> None:
        count_refusal(counts_of(streams), error)
        problem = problem_of(error, f'{req.method} {req.path}')
        if resp is not None:
            put(problem.reply(), resp)

    app.add_error_handler(Exception, handle)
    app.add_error_handler(falcon.HTTPError, _handle_http)
