"""A chat model or a chain of LangChain: what ``astream`` yields.

``gunicorn -c examples/gunicorn.conf.py examples.sources.langchain_stream:app``
"""

from fastapi import FastAPI
from fastapi.responses import Response
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable

from shmstream.fastapi import Answers

app = FastAPI()
answers = Answers('/chat')
app.include_router(answers.router)

# Stands in for ChatOpenAI and the like. Without the parser the events are messages as
# JSON, with their ids and their metadata.
model = FakeListChatModel(responses=['Resumable answers, a letter at a time.'])
chain: Runnable[str, str] = model | StrOutputParser()


@app.post('/chat/{chat_id}')
async def ask(chat_id: str, prompt: str) -> Response:
    """Begin an answer, and stream it."""
    return answers.start(chat_id, chain.astream(prompt))
