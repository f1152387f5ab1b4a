"""A FastAPI application with resumable answers, as a user would write it."""

from __future__ import annotations

from fastapi import FastAPI

from shmstream.fastapi import Answers

answers = Answers('/chat')
app = FastAPI()
app.include_router(answers.router)
