"""Makes the streams of the package ``openai`` resume.

The package parses a stream that it reads from an HTTP response, and does not resume.
Its streams stay as they are here, chunk objects, helpers and exceptions too: only the
response that they read from is another one, whose bytes go on after a loss. The GETs
for the rest are made by the caller's client, so they have its key, its proxies and its
certificates::

    openai.Stream ----------> ResumedResponse --> Following --> PackageAnswer
     parses, makes chunks      .iter_bytes()       resumes       httpx response, of the
                                                                 POST, then of the GETs

This relies on three things of the package, and ``tests/client`` tries them: all its
resources ask by the client's ``request``, a ``Stream`` reads from its attribute
``response``, and it does not before its first step.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from shmstream.client.errors import Unreachable
from shmstream.client.exchange import Lost
from shmstream.client.in_threads import Following
from shmstream.client.limits import Limits
from shmstream.client.on_loops import AsyncFollowing
from shmstream.client.openai_transport import AsyncPackageOpener, PackageOpener
from shmstream.client.resumption import Post, Resumption
from shmstream.errors import LocalError
from shmstream.ids import validate_id

if TYPE_CHECKING:
    import openai

    Client = TypeVar('Client', openai.OpenAI, openai.AsyncOpenAI)

_LIMITS = Limits()
_HEADER = 'X-Conversation-Id'


def resumable(
    client: Client, conversation_id: str, *, limits: Limits = _LIMITS
) -> Client:
    """Return a client whose streams resume, over any number of lost connections.

    The client is a copy; use it for one conversation at a time. Every POST that it
    makes has the conversation's id, so its streams can be found again. A stream yields
    the package's own objects, each of them once. ``following_of`` says where it is.

    ``with_raw_response`` and ``with_streaming_response`` hand out the response itself,
    so they do not resume, and neither does a client that ``with_options`` makes of this
    one.

    Args:
        client: ``OpenAI`` or ``AsyncOpenAI``, or a subclass. The service, or a proxy in
            front of it, must be its ``base_url``.
        conversation_id: 1 to 512 characters of ASCII, because the package sends no
            others in a header.
        limits: ``patience_s``, ``idle_s`` (after the first loss) and ``event_bytes``.

    Raises (the streams, beside the package's own exceptions):
        OffsetLost: the ring has dropped bytes that were not delivered yet.
        StreamNotFound: the stream has expired or was removed.
        StreamReplaced: the conversation has a newer stream.
        Unreachable: the service answered with nothing but 503 for ``patience_s``. If it
            did not answer at all, the exception is the package's
            ``APIConnectionError``.

    Example::

        client = resumable(OpenAI(base_url='http://127.0.0.1:8000/v1'), 'chat-1')
        for chunk in client.chat.completions.create(
            model='m', messages=[...], stream=True
        ):
            print(chunk.choices[0].delta.content or '', end='')
    """
    import openai

    validate_id(conversation_id)
    if not conversation_id.isascii():
        raise LocalError('conversation_id: the package openai sends ASCII only')
    copy: Any = client.with_options(default_headers={_HEADER: conversation_id})
    plain = copy.request

    def resumption(response: Any) -> Resumption:
        return Resumption(
            str(response.request.url),
            {},
            Post(b'', conversation_id, unique=False),
            patience_s=limits.patience_s,
            most=limits.event_bytes,
        )

    def request(*args: Any, **kwargs: Any) -> Any:
        answer = plain(*args, **kwargs)
        if isinstance(answer, openai.Stream) and _is_kept(answer.response):
            response: Any = answer.response
            opener = PackageOpener(client, response, limits.idle_s)
            followed = Following(resumption(response), opener)
            vars(answer)['response'] = ResumedResponse(response, followed)
        return answer

    async def request_async(*args: Any, **kwargs: Any) -> Any:
        answer = await plain(*args, **kwargs)
        if isinstance(answer, openai.AsyncStream) and _is_kept(answer.response):
            response: Any = answer.response
            opener = AsyncPackageOpener(client, response, limits.idle_s)
            followed = AsyncFollowing(resumption(response), opener)
            vars(answer)['response'] = AsyncResumedResponse(response, followed)
        return answer

    is_async = isinstance(client, openai.AsyncOpenAI)
    vars(copy)['request'] = request_async if is_async else request
    resumed: Client = copy
    return resumed


def following_of(stream: object) -> Following | AsyncFollowing:
    """Return what reads a stream of a ``resumable`` client: its state, and ``stop``.

    Raises:
        LocalError: the stream does not resume, because no service keeps it.

    Example::

        stream = client.chat.completions.create(model='m', messages=[...], stream=True)
        following_of(stream).stop()
    """
    response = getattr(stream, 'response', None)
    if not isinstance(response, ResumedResponse | AsyncResumedResponse):
        raise LocalError('this stream does not resume: no service keeps it')
    return response.following


def _is_kept(response: Any) -> bool:
    return response.request.method == 'POST' and 'stream-generation' in response.headers


class ResumedResponse:
    """The response of a POST, as the package sees it; its bytes go on after a loss."""

    def __init__(self, response: Any, following: Following) -> None:
        self._response = response
        self.following = following

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Iterate over the stream, one event at a time."""
        try:
            yield from self.following.raw_events()
        except Unreachable as ex:
            raise _of_the_package(ex) from ex

    def close(self) -> None:
        """Hang up."""
        self.following.close()
        self._response.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


class AsyncResumedResponse:
    """The same for ``AsyncOpenAI``."""

    def __init__(self, response: Any, following: AsyncFollowing) -> None:
        self._response = response
        self.following = following

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Iterate over the stream, one event at a time."""
        try:
            async for block in self.following.raw_events():
                yield block
        except Unreachable as ex:
            raise _of_the_package(ex) from ex

    async def aclose(self) -> None:
        """Hang up."""
        await self.following.aclose()
        await self._response.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


def _of_the_package(error: Unreachable) -> BaseException:
    """Return the failure as the package knows it, if it is one of the connection."""
    lost = error.__cause__
    if isinstance(lost, Lost) and lost.__cause__ is not None:
        return lost.__cause__
    return error
