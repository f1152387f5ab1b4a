"""A Django project in one file, with resumable answers.

``gunicorn -c examples/gunicorn.conf.py examples.django_app:asgi``, or under WSGI
``gunicorn -c examples/gunicorn.conf.py -k gthread examples.django_app:wsgi``.

``curl -N -d '{"text": "one two three"}' localhost:8000/chats/a`` begins an answer and
reads it, ``curl -N localhost:8000/chats/a?from=0`` reads it as well, and ``curl -X
DELETE localhost:8000/chats/a`` stops it. ``/threads/a`` does the same in a thread.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from shmstream.asgi import Drained
from shmstream.django import Answers

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=['localhost', '127.0.0.1'],
    SECRET_KEY='an example has no secrets',
    MIDDLEWARE=[
        'django.middleware.security.SecurityMiddleware',
        'django.middleware.gzip.GZipMiddleware',
        'django.middleware.common.CommonMiddleware',
        'django.middleware.csrf.CsrfViewMiddleware',
        'django.middleware.clickjacking.XFrameOptionsMiddleware',
    ],
)


async def model(question: dict[str, Any]) -> AsyncIterator[str]:
    """Stand in for a model: slow, word by word."""
    for word in question['text'].split():
        await asyncio.sleep(0.02)
        yield word


def blocking_model(question: dict[str, Any]) -> Iterator[str]:
    """Stand in for a model whose client blocks."""
    for word in question['text'].split():
        time.sleep(0.02)
        yield word


answers = Answers()


@answers.view
async def chat(request: HttpRequest, conv_id: str) -> HttpResponseBase:
    """POST begins an answer, GET reads it, DELETE stops it."""
    question = json.loads(request.body)
    return await answers.astart(request, conv_id, model(question))


@answers.view
def threaded_chat(request: HttpRequest, conv_id: str) -> HttpResponseBase:
    """The same, for a model that blocks, and for WSGI."""
    question = json.loads(request.body)
    return answers.start(request, conv_id, blocking_model(question))


urlpatterns = [
    path('chats/lookup', answers.lookup),
    # Exempt, because `curl` has no cookies.
    path('chats/<str:conv_id>', csrf_exempt(chat)),
    path('threads/<str:conv_id>', csrf_exempt(threaded_chat)),
]

# `Drained` is for servers other than gunicorn: a process that is told to stop lets its
# readers go, and its answers run on to their end.
asgi = Drained(get_asgi_application())
wsgi = get_wsgi_application()
