"""The example for Django, with sources that tests steer, and with more views."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path
from django.utils.asyncio import async_unsafe
from django.views.decorators.csrf import csrf_exempt

from shmstream import owner_of
from shmstream.django import Answers
from shmstream.serving import Verdict, refusal
from tests.answers.watched import watch
from tests.producing.scripted import script

example: Any = importlib.import_module('examples.django_app')

FOLDER = Path(os.environ['ANSWERS_FOLDER'])


def model(asked: dict[str, Any]) -> AsyncIterator[str]:
    return script(FOLDER, asked).on_loop()


def blocking_model(asked: dict[str, Any]) -> Any:
    return script(FOLDER, asked).in_thread


async def stored(asked: dict[str, Any]) -> AsyncIterator[str]:
    """Each item through a thread, as the async ORM does it."""
    async for item in model(asked):
        yield await sync_to_async(str)(item)


example.model = model
example.blocking_model = blocking_model


def verdict(user: str | None) -> Verdict:
    if user is None:
        return refusal(401, 'Who are you?')
    if user == 'mallory':
        raise PermissionDenied
    return owner_of(user)


def permit(request: HttpRequest) -> Verdict:
    # As the ORM, it may not be called on an event loop.
    found: Verdict = async_unsafe(verdict)(request.headers.get('x-user'))
    return found


async def async_permit(request: HttpRequest) -> Verdict:
    return verdict(request.headers.get('x-user'))


answers: Answers = example.answers
owned = Answers(permit)
owned_too = Answers(async_permit)


@owned.view
async def owned_chat(request: HttpRequest, conv_id: str) -> HttpResponseBase:
    return await owned.astart(request, conv_id, model(json.loads(request.body)))


@owned_too.view
def owned_threaded(request: HttpRequest, conv_id: str) -> HttpResponseBase:
    source = blocking_model(json.loads(request.body))
    return owned_too.start(request, conv_id, source)


@answers.view
def by_query(request: HttpRequest, conv_id: str = '') -> HttpResponseBase:
    asked = json.loads(request.body)
    return answers.start(request, asked['id'], blocking_model(asked))


@answers.view
def mixed(request: HttpRequest, conv_id: str) -> HttpResponseBase:
    """An async source in a view that is no coroutine function."""
    return answers.start(request, conv_id, stored(json.loads(request.body)))


@answers.view
async def wrongly(request: HttpRequest, conv_id: str) -> HttpResponseBase:
    """A mistake: ``start`` in an async view."""
    asked = json.loads(request.body)
    return answers.start(request, conv_id, blocking_model(asked))


def which(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


example.urlpatterns += [
    path('which', which),
    path('guarded-chats/<str:conv_id>', example.chat),
    path('guarded-threads/<str:conv_id>', example.threaded_chat),
    path('notes/<path:conv_id>/stream', answers.resume),
    path('notes/<path:conv_id>/stop', csrf_exempt(answers.stop)),
    path('notes/<path:conv_id>', csrf_exempt(example.threaded_chat)),
    path('questions', csrf_exempt(by_query)),
    path('mixed/<str:conv_id>', csrf_exempt(mixed)),
    path('wrongly/<str:conv_id>', csrf_exempt(wrongly)),
    path('owned/lookup', owned.lookup),
    path('owned/<str:conv_id>', csrf_exempt(owned_chat)),
    path('owned-too/<str:conv_id>', csrf_exempt(owned_threaded)),
]

asgi, wsgi = example.asgi, example.wsgi
# Under WSGI an async view reads its request on the loop.
watch({'socket.socket.recv': [('django/core/handlers/wsgi.py', 'read')]})


async def wrapped(scope: Any, receive: Any, send: Any) -> None:
    """The project in a middleware that hides the server's ``send``."""

    async def send_it(message: Any) -> None:
        await send(message)

    await asgi(scope, receive, send_it)
