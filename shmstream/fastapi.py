"""Resumable answers in a FastAPI application.

Example::

    answers = shmstream.fastapi.Answers('/chat')
    app.include_router(answers.router)

    @app.post('/chat/{chat_id}')
    async def ask(chat_id: str, question: Question):
        return answers.start(chat_id, model(question.text))  # an async generator
"""

from __future__ import annotations

import functools
import re
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.routing import APIRoute

from shmstream import starlette

__all__ = ['Answers']


class Answers(starlette.Answers):
    """As ``shmstream.starlette.Answers``, with a router.

    Include the router where its prefix is to be, with the dependencies that guard it
    (``app.include_router(answers.router, dependencies=[Depends(...)])``). The router
    has the lifespan.

    Let a source open what it uses: a dependency with ``yield`` (``Depends(get_db)``) is
    closed when the response ends at the latest, while the source may go on.

    Declare ``POST {prefix}/{id}`` after the router is included: before it, that route
    would take the POSTs to ``{prefix}/lookup``.
    """

    @functools.cached_property
    def router(self) -> APIRouter:
        """For ``app.include_router``."""
        router = APIRouter(tags=['answers'], lifespan=self.lifespan)
        for path, endpoint, methods, name in self._endpoints():
            by_query = path == '/'
            for method in methods:
                router.add_api_route(
                    self._prefix + path,
                    endpoint,
                    methods=[method],
                    name=name,
                    summary=_SUMMARIES[method],
                    response_class=Response,
                    response_model=None,
                    include_in_schema=method != 'HEAD',
                    openapi_extra=_described(method, by_query),
                    generate_unique_id_function=_operation_id,
                )
        return router


_SUMMARIES = {
    'GET': 'Read an answer',
    'HEAD': 'Look at an answer',
    'DELETE': 'Stop an answer',
    'POST': 'Look up answers',
}


def _operation_id(route: APIRoute) -> str:
    """Return FastAPI's own operation id, without the number in the route's name."""
    name = route.name.rstrip('0123456789').rstrip('_')
    (method,) = route.methods or ('',)
    return f'{re.sub("[^0-9a-zA-Z]", "_", name + route.path_format)}_{method.lower()}'


def _described(method: str, by_query: bool) -> dict[str, Any]:
    """Return what the OpenAPI description of a route says of its request."""
    if method == 'POST':
        ids = {'type': 'array', 'items': {'type': 'string'}}
        body = {'type': 'object', 'properties': {'conversation_ids': ids}}
        content = {'application/json': {'schema': body}}
        return {'requestBody': {'required': True, 'content': content}}
    place = 'query' if by_query else 'path'
    text = {'type': 'string'}
    parameters = [{'name': 'conv_id', 'in': place, 'required': True, 'schema': text}]
    if method == 'GET':
        number = {'type': 'integer', 'minimum': 0}
        parameters.append({'name': 'from', 'in': 'query', 'schema': number})
    parameters.append({'name': 'generation', 'in': 'query', 'schema': text})
    return {'parameters': parameters}
