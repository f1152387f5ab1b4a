"""The applications of ``examples/sources``, with models that a test steers.

``$ANSWERS_SOURCE`` says which; its prompt is the name of the gate.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from tests.answers.watched import FASTAPI, watch
from tests.producing.scripted import Gate, Script
from tests.producing.steered import AFTER, BEFORE

FOLDER = Path(os.environ.get('ANSWERS_FOLDER', '.'))
SOURCE = os.environ.get('ANSWERS_SOURCE', 'async_generator')


def script(name: str) -> Script:
    """What the model does: three texts, the gate, four texts."""
    return Script(Gate(FOLDER, name), BEFORE, AFTER)


def model(prompt: str) -> AsyncIterator[str]:
    return script(prompt).on_loop()


def blocking_model(prompt: str, cancelled: threading.Event) -> Iterator[str]:
    return script(prompt).in_thread(cancelled)


def langchain_model() -> Any:
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    class Steered(FakeListChatModel):
        async def _astream(
            self, messages: list[Any], *_: Any, **__: Any
        ) -> AsyncIterator[ChatGenerationChunk]:
            async for text in model(messages[0].content):
                yield ChatGenerationChunk(message=AIMessageChunk(content=text))

    return Steered(responses=[''])


async def agents_model(messages: list[Any], _: Any) -> AsyncIterator[str]:
    """A model for a ``FunctionModel``."""
    async for text in model(messages[-1].parts[-1].content):
        yield text


example: Any = importlib.import_module(f'examples.sources.{SOURCE}')


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The example, which also says which worker has begun an answer."""

    async def sent(message: Any) -> None:
        if message['type'] == 'http.response.start':
            message['headers'].append((b'stream-worker', b'%d' % os.getpid()))
        await send(message)

    begins = scope.get('method') == 'POST'
    await example.app(scope, receive, sent if begins else send)


if SOURCE == 'async_generator':
    example.model = model
elif SOURCE in ('blocking_generator', 'celery_worker'):
    example.model = blocking_model
elif SOURCE == 'langchain_stream':
    from langchain_core.output_parsers import StrOutputParser

    example.chain = langchain_model() | StrOutputParser()
elif SOURCE == 'pydantic_ai_ui':
    from pydantic_ai.models.function import FunctionModel

    example.agent.model = FunctionModel(stream_function=agents_model)
if SOURCE == 'celery_worker':
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES['filesystem'] = 'tests.answers.file_broker:Transport'
    jobs = example.jobs
    jobs.conf.broker_url = 'filesystem://'
    jobs.conf.broker_transport_options = {
        'data_folder_in': str(FOLDER / 'queue'),
        'data_folder_out': str(FOLDER / f'aside-{os.getpid()}'),
        'control_folder': str(FOLDER / 'control'),
        'polling_interval': 0.05,
    }
watch(FASTAPI)
