"""The stream of the package ``openai``: its chunks, as they came over the wire.

``OPENAI_API_KEY=...
gunicorn -c examples/gunicorn.conf.py examples.sources.openai_stream:app``
"""

from fastapi import FastAPI
from fastapi.responses import Response
from openai import AsyncOpenAI

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/chat')
app.include_router(answers.router)
client = AsyncOpenAI()


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, prompt: str) -> Response:
    """Begin an answer, and stream it. The stream's end closes the connection."""
    stream = await client.chat.completions.create(
        model='gpt-5-mini',
        messages=[{'role': 'user', 'content': prompt}],
        stream=True,
    )
    return answers.start(chat_id, stream)
