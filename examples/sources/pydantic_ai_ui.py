"""An agent of Pydantic AI, for ``useChat`` of the AI SDK.

``gunicorn -c examples/gunicorn.conf.py examples.sources.pydantic_ai_ui:app``
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel
from pydantic_ai.ui.vercel_ai import VercelAIAdapter

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/chat')
app.include_router(answers.router)
# TestModel stands in for a model.
agent: Agent[None, Any] = Agent(TestModel(custom_output_text='Resumable answers.'))


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, request: Request) -> Response:
    """Begin an answer, and stream it."""
    adapter = await VercelAIAdapter.from_request(request, agent=agent)
    # Its chunks, not `encode_stream`: the format encodes them, and says how they end.
    return answers.start(chat_id, adapter.run_stream(), format='ui')
