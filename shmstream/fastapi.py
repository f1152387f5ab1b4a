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
            kind = _plain(name)
            for method in methods:
                router.add_api_route(
                    self._prefix + path,
                    endpoint,
                    methods=[method],
                    name=name,
                    summary=_SUMMARIES[kind],
                    response_class=Response,
                    response_model=None,
                    include_in_schema=method != 'HEAD',
                    openapi_extra=_described(kind),
                    generate_unique_id_function=_operation_id,
                )
        return router


_SUMMARIES = {
    'read_answer': 'Read an answer',
    'read_answer_by_query': 'Read an answer',
    'stop_answer': 'Stop an answer',
    'stop_answer_by_query': 'Stop an answer',
    'resume_chat': 'Resume a chat',
    'stop_chat': 'Stop a chat',
    'look_up_answers': 'Look up answers',
    'shmstream_js': 'Get the module by which pages read answers',
}

_TEXT = {'type': 'string'}
_GENERATION = ('generation', _TEXT)
_QUERIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    'read_answer': [('from', {'type': 'integer', 'minimum': 0}), _GENERATION],
    'stop_answer': [_GENERATION],
    'resume_chat': [('finished', {'enum': ['replay']})],
}
"""The parameters in the query."""

_BODIES: dict[str, dict[str, Any]] = {
    'look_up_answers': {'conversation_ids': {'type': 'array', 'items': _TEXT}},
    'stop_chat': {'activeStreamId': _TEXT, 'assistantMessage': {'type': 'object'}},
}
"""The members of the body, which is JSON."""


def _plain(name: str) -> str:
    """Return a route's name without its number."""
    return name.rstrip('0123456789').rstrip('_')


def _operation_id(route: APIRoute) -> str:
    """Return FastAPI's own operation id, without the number in the route's name."""
    name = _plain(route.name)
    (method,) = route.methods or ('',)
    return f'{re.sub("[^0-9a-zA-Z]", "_", name + route.path_format)}_{method.lower()}'


def _described(kind: str) -> dict[str, Any]:
    """Return what the OpenAPI description of a route says of its request."""
    found: dict[str, Any] = {}
    if members := _BODIES.get(kind):
        schema = {'type': 'object', 'properties': members}
        content = {'application/json': {'schema': schema}}
        found['requestBody'] = {'required': kind != 'stop_chat', 'content': content}
    if kind not in ('look_up_answers', 'shmstream_js'):
        plain = kind.removesuffix('_by_query')
        place = 'path' if plain == kind else 'query'
        found['parameters'] = [
            {'name': 'conv_id', 'in': place, 'required': True, 'schema': _TEXT},
            *(
                {'name': name, 'in': 'query', 'schema': schema}
                for name, schema in _QUERIES.get(plain, ())
            ),
        ]
    return found
