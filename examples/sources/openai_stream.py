"""The stream of the package ``openai``: its chunks, as they came over the wire.

``OPENAI_API_KEY=...
gunicorn -c examples/gunicorn.conf.py examples.sources.openai_stream:app``
"""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import Response
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/chat')
app.include_router(answers.router)
client = AsyncOpenAI()


async def model(prompt: str) -> AsyncIterator[ChatCompletionChunk]:
    """Ask, and yield the chunks. Its end closes the connection.

    The stream is there, to be followed and stopped, before the model begins to answer.
    """
    stream = await client.chat.completions.create(
        model='gpt-5-mini',
        messages=[{'role': 'user', 'content': prompt}],
        stream=True,
    )
    async with stream:
        async for chunk in stream:
            yield chunk


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, prompt: str) -> Response:
    """Begin an answer, and stream it."""
    return answers.start(chat_id, model(prompt))
