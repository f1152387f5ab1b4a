"""Resumable answers in a FastAPI application.

Example::

    answers = shmstream.fastapi.Answers('/chat')
    app.include_router(answers.router)

    @app.post('/chat/{chat_id}')
    async def ask(chat_id: str, question: Question):
        return answers.start(chat_id, model(question.text))  # an async generator
"""

from __future__ import annotations

from fastapi import APIRouter

from shmstream import starlette
from shmstream.starlette import Permit
from shmstream.streams import Streams

__all__ = ['Answers']


class Answers(starlette.Answers):
    """As ``shmstream.starlette.Answers``, with a router.

    Include the router where its prefix is to be, with the dependencies that guard it
    (``app.include_router(answers.router, dependencies=[Depends(...)])``). The router
    has the lifespan.

    Attributes:
        router: for ``app.include_router``.
    """

    def __init__(
        self,
        prefix: str = '',
        permit: Permit | None = None,
        *,
        streams: Streams | None = None,
        lookup: str | None = '/lookup',
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(
            prefix, permit, streams=streams, lookup=lookup, timeout_s=timeout_s
        )
        self.router = APIRouter(tags=['answers'], lifespan=self.lifespan)
        for path, endpoint, methods, name in self._endpoints(lookup):
            for method in methods:
                self.router.add_api_route(
                    prefix + path,
                    endpoint,
                    methods=[method],
                    name=name,
                    response_model=None,
                    include_in_schema=method != 'HEAD',
                )
