"""Resumable answers in a Django project, under ASGI and under WSGI.

Example::

    answers = shmstream.django.Answers()

    @answers.view
    async def chat(request, conv_id):
        question = json.loads(request.body)
        return await answers.astart(request, conv_id, model(question['text']))

    urlpatterns = [
        path('chat/lookup', answers.lookup),
        path('chat/<str:conv_id>', chat),
    ]

Or as a view that is no coroutine function, which is also what WSGI is for::

    @answers.view
    def chat(request, conv_id):
        question = json.loads(request.body)
        return answers.start(request, conv_id, model(question['text']))

**Chats of the AI SDK.** ``useChat({resume: true})`` sends its questions to one path,
and comes back to two more::

    urlpatterns = [
        path('api/chat', chat),  # its id is in the body
        path('api/chat/<path:conv_id>/stream', answers.resume),
        path('api/chat/<path:conv_id>/stop', answers.stop),
    ]

Django 5 or later is needed.

**CSRF.** If ``CsrfViewMiddleware`` is on, as in a new project, a POST and a DELETE of a
view need the token, as with all views: ``fetch(url, {method: 'DELETE', headers:
{'X-CSRFToken': token}})``. For clients that have no cookies (``shmstream.client``, apps
with a key of their own) put ``@csrf_exempt`` above or below ``@answers.view``; it
exempts both methods. GET and HEAD need no token. ``lookup`` is exempt: it changes
nothing, and a stranger's page cannot read what it returns.

**ids with a slash.** Let the path have them (``path('chat/<path:conv_id>', chat)``), or
map the view to a path without ``conv_id`` (``path('chat/', chat)``): then GET, HEAD and
DELETE take the id from ``?conv_id=``, and your POST from wherever you like.

**Servers.** Under gunicorn with shmstream's hooks nothing more is needed. For uvicorn,
hypercorn and others wrap the application, because Django knows no lifespan::

    application = shmstream.asgi.Drained(get_asgi_application())

Then a process that is told to stop lets its readers go, and its answers run on to their
end. A response that has to be cut is cut under every server, but only under gunicorn
and uvicorn without an error in the log. Under WSGI a reader takes a thread, a greenlet
or a worker until its answer ends or its client leaves.

**Databases.** A source that is no async generator runs in a thread of its own. If it
uses the ORM there, it should end with ``django.db.connections.close_all()``, as every
thread should that Django has not made.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

from asgiref.sync import AsyncToSync, async_to_sync, iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.utils.asyncio import async_unsafe
from django.utils.encoding import escape_uri_path
from django.views.decorators.csrf import csrf_exempt

from shmstream.answers.asgi import AsgiAnswers
from shmstream.answers.beginning import Beginning
from shmstream.answers.django_request import body_of, is_asgi, request_of
from shmstream.answers.django_response import other_method, response_of
from shmstream.answers.wsgi import WsgiAnswers
from shmstream.asgi.stalled import Readers
from shmstream.producing.formats import Format
from shmstream.producing.sources import Source, close_async
from shmstream.serving.chat_routes import MAX_STOP_BYTES
from shmstream.serving.get_head_delete import METHODS
from shmstream.serving.lookup import MAX_BYTES
from shmstream.serving.permit import Verdict
from shmstream.serving.reply import Reply
from shmstream.settings import send_timeout
from shmstream.streams import Streams

__all__ = ['Answers']

Permit = Callable[[HttpRequest], Verdict | Awaitable[Verdict]]
View = TypeVar('View', bound=Callable[..., Any])

_BLOCKS = 'Answers.start() blocks the event loop. Use "await answers.astart(...)".'

_OF_A_VIEW = '_shmstream_conv_id'
"""The attribute by which a POST tells ``start`` that its URL also reads answers: the
id in the URL, or None if ids are in the query."""


class Answers:
    """Answers that outlive their requests, and the views by which clients reach them.

    Args:
        permit: takes the request (Django's), and returns who is asking: an owner
            (``shmstream.owner_of(request.user.pk)``), or a refusal
            (``shmstream.serving.refusal``). It may be a coroutine function, and may
            raise ``PermissionDenied`` or ``Http404``. It is asked for every request,
            the POST included. A function that is no coroutine function may use the ORM:
            an async view calls it in a thread. Without ``permit`` everybody may read
            and stop every answer whose id they know.
        streams: the deployment; by default that of the environment
            (``Streams.attach()``).
        timeout_s: seconds for which a client may read nothing, and for which it may go
            on reading an answer that is gone; by default ``$SHMSTREAM_SEND_TIMEOUT``.
            Under ASGI a client that reads nothing is cut only where the connection is
            known: under gunicorn and uvicorn, without a middleware that wraps Django.

    Attributes:
        streams: the deployment.
        lookup: a view: a POST of ``{"conversation_ids": [...]}`` says which of these
            ids have an answer, and how far it is.
        resume: a view: a GET resumes a chat of ``useChat``; 204 if there is nothing to
            resume.
        stop: a view: a POST stops a chat. It needs the CSRF token, as all POSTs do.

    Raises:
        SettingsError: a setting of the environment cannot be used.
    """

    def __init__(
        self,
        permit: Permit | None = None,
        *,
        streams: Streams | None = None,
        timeout_s: float | None = None,
    ) -> None:
        timeout_s = send_timeout() if timeout_s is None else timeout_s
        awaited, blocking = _both(permit)
        self._on_loop = AsgiAnswers(streams, awaited, timeout_s)
        self.streams = self._on_loop.streams
        self._in_thread = WsgiAnswers(self.streams, blocking, timeout_s)
        self._response = functools.partial(
            response_of, readers=Readers(timeout_s), in_thread=self._in_thread
        )
        self.lookup = csrf_exempt(self._look_up)

    def view(self, post: View) -> View:
        """Make one view of yours for POST, and of GET, HEAD and DELETE of an answer.

        ::

            GET, HEAD   read an answer from a byte offset (``?from=``), look at it
            DELETE      stop an answer, whoever writes it, and remove it
            POST        your view

        The id is ``conv_id`` of the URL, or of the query if the URL has none.

        Args:
            post: your view, a coroutine function or not. It is called for POST only.

        Returns:
            A view; a coroutine function if yours is one.
        """
        view: Any
        if iscoroutinefunction(post):

            @functools.wraps(post)
            async def view(request: Any, *args: Any, **kwargs: Any) -> Any:
                if request.method == 'POST':
                    setattr(request, _OF_A_VIEW, kwargs.get('conv_id'))
                    return await post(request, *args, **kwargs)
                if not is_asgi(request):
                    # The event loop ends with this call.
                    return await sync_to_async(self._answer)(request, kwargs)
                return await self._answer_on_loop(request, kwargs)
        else:

            @functools.wraps(post)
            def view(request: Any, *args: Any, **kwargs: Any) -> Any:
                if request.method == 'POST':
                    setattr(request, _OF_A_VIEW, kwargs.get('conv_id'))
                    return post(request, *args, **kwargs)
                return self._answer(request, kwargs)

        found: View = view
        return found

    @async_unsafe(_BLOCKS)  # type: ignore[untyped-decorator]
    def start(
        self,
        request: HttpRequest,
        conv_id: object,
        source: Source,
        format: str | Format = 'sse',
        capacity: int | None = None,
    ) -> HttpResponseBase:
        """Begin an answer, and return the response that sends it. Blocks.

        The answer is written to its end, whoever leaves, and a reload of the workers
        waits for it: by a thread, or, under ASGI, by a task if the source is an async
        iterator. You may set headers and cookies of the response. In a view of ``view``
        the response says where the answer is found (``Content-Location``), and there
        ``shmstream.client.follow`` resumes it; elsewhere set that header yourself.

        Args:
            request: the request.
            conv_id: the id by which clients find the answer: 1 to 512 bytes of UTF-8
                without control characters. What is no text (a UUID) becomes one. An
                older answer with this id is replaced.
            source: as for ``Streams.start``; a generator, as a rule. Under gevent an
                async source fails.
            format: as for ``Streams.start``.
            capacity: bytes of the ring; by default the deployment's setting.

        Returns:
            The response; if the answer could not begin, one that says why.

        Raises:
            LocalError: the source or the format is none.
            SynchronousOnlyOperation: called on an event loop.
            Exception: whatever ``permit`` raises.
        """
        if is_asgi(request):
            # On the server's event loop, which outlives this call.
            start = async_to_sync(self.astart)
            return start(request, conv_id, source, format, capacity)
        beginning = Beginning(str(conv_id), source, format, capacity)
        asked = request_of(request, '')
        reply = self._in_thread.begin(beginning, asked, request, None)
        return self._begun(request, reply, beginning.conv_id)

    async def astart(
        self,
        request: HttpRequest,
        conv_id: object,
        source: Source,
        format: str | Format = 'sse',
        capacity: int | None = None,
    ) -> HttpResponseBase:
        """As ``start``, for async views. Blocks nothing.

        Under WSGI the answer is written by a thread in any case, because the event loop
        of an async view ends with the view.

        Arguments, returns and raises as ``start``; it may be called on an event loop.
        """
        if not is_asgi(request):
            start = sync_to_async(self.start)
            return await start(request, conv_id, source, format, capacity)
        if isinstance(source, AsyncIterable):
            source = _Outliving(source)
        beginning = Beginning(str(conv_id), source, format, capacity)
        asked = request_of(request, '')
        reply = await self._on_loop.begin(beginning, asked, request, None)
        return self._begun(request, reply, beginning.conv_id)

    def _begun(
        self, request: HttpRequest, reply: Reply, conv_id: str
    ) -> HttpResponseBase:
        response = self._response(request, reply)
        in_url = getattr(request, _OF_A_VIEW, '')
        if not isinstance(reply.body, bytes):
            address = escape_uri_path(request.path)
            if in_url is None:
                address += f'?conv_id={quote(conv_id, safe="")}'
            if in_url is None or str(in_url) == conv_id:
                response.headers['Content-Location'] = address
        return response

    def _answer(
        self, asked: HttpRequest, kwargs: dict[str, Any], route: str = ''
    ) -> HttpResponseBase:
        if is_asgi(asked):
            return async_to_sync(self._answer_on_loop)(asked, kwargs, route)
        if asked.method not in METHODS:
            return other_method(asked)
        request = request_of(asked, kwargs.get('conv_id', ''), route)
        return self._response(asked, self._in_thread.read_or_stop(request, asked))

    async def _answer_on_loop(
        self, asked: HttpRequest, kwargs: dict[str, Any], route: str = ''
    ) -> HttpResponseBase:
        if asked.method not in METHODS:
            return other_method(asked)
        request = request_of(asked, kwargs.get('conv_id', ''), route)
        return self._response(asked, await self._on_loop.reply(request, asked))

    def resume(self, request: HttpRequest, conv_id: object) -> HttpResponseBase:
        """Read an answer that goes on, from its beginning: a view, see above."""
        if request.method not in ('GET', 'HEAD'):
            return HttpResponseNotAllowed(['GET', 'HEAD'])
        return self._answer(request, {'conv_id': conv_id}, '/stream')

    def stop(self, request: HttpRequest, conv_id: object) -> HttpResponseBase:
        """Stop an answer, and keep it: a view, see above."""
        if request.method != 'POST':
            return HttpResponseNotAllowed(['POST'])
        asked = request_of(request, conv_id, '/stop')
        body = functools.partial(body_of, request, MAX_STOP_BYTES)
        return self._response(request, self._in_thread.stop_chat(body, asked, request))

    def _look_up(self, request: HttpRequest) -> HttpResponseBase:
        if request.method != 'POST':
            return HttpResponseNotAllowed(['POST'])
        body = request.read(MAX_BYTES + 1)
        reply = self._in_thread.look_up(body, request_of(request, ''), request)
        return self._response(request, reply)


class _Outliving:
    """An async source that uses no thread which waits for its view.

    A view that is no coroutine function, or that is behind such a middleware, has
    asgiref run each ``sync_to_async`` in the thread that waits for the view: also those
    of the source, which fail once the view has returned. Without that thread asgiref
    makes another one.

    Args:
        source: the source.
    """

    def __init__(self, source: AsyncIterable[Any]) -> None:
        self._source = source
        self._iterator: object = None

    def __aiter__(self) -> AsyncIterator[Any]:
        # In the context of the task that writes the answer, which does nothing else.
        AsyncToSync.executors.current = None
        self._iterator = iterator = aiter(self._source)
        return iterator

    async def aclose(self) -> None:
        """Close the source, unless it is its own iterator, which is closed anyway."""
        if self._iterator is not self._source:
            await close_async(self._source)


def _both(permit: Permit | None) -> tuple[Any, Any]:
    """Return a ``permit`` for event loops, and one for threads."""
    if permit is None:
        return None, None
    ask: Any = permit
    if iscoroutinefunction(permit):
        # ``async_to_sync`` notes the event loop of the thread that calls it.
        return ask, lambda asked: async_to_sync(ask)(asked)
    return sync_to_async(ask), ask
