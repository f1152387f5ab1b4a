"""The transport by a client of the package ``openai``.

The package raises for a status that is an error, and for a connection that fails before
the head of the answer; its HTTP client (httpx, or httpx2) raises for one that is cut
later. Here all of them become what ``exchange`` says.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from shmstream.client.exchange import Answer, Asked, AsyncAnswer, Lost


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _failures(response: Any) -> type[Exception]:
    """Return what the HTTP client of this response raises when it is cut."""
    package = sys.modules[type(response).__module__.partition('.')[0]]
    failures: type[Exception] = package.RequestError
    return failures


class PackageAnswer:
    """A response of the package's HTTP client (``exchange.Answer``)."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = _lower(response.headers)
        self._response = response
        self._failures = _failures(response)
        self._bytes: Iterator[bytes] = response.iter_bytes()

    def read(self) -> bytes:
        """Return the next bytes below the coding; empty at a clean end."""
        try:
            return next(filter(None, self._bytes), b'')
        except self._failures as ex:
            raise Lost(f'the connection was lost: {ex!r}') from ex

    def close(self) -> None:
        """Hang up."""
        self._response.close()


class AsyncPackageAnswer:
    """The same for ``AsyncOpenAI`` (``exchange.AsyncAnswer``)."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = _lower(response.headers)
        self._response = response
        self._failures = _failures(response)
        self._bytes: AsyncIterator[bytes] = response.aiter_bytes()
        self._broken = False

    async def read(self) -> bytes:
        """Return the next bytes below the coding; empty at a clean end."""
        if self._broken:
            raise Lost('an earlier step was cancelled')
        try:
            async for data in self._bytes:
                if data:
                    return data
        except self._failures as ex:
            raise Lost(f'the connection was lost: {ex!r}') from ex
        except BaseException:
            # A cancelled step has ended the iterator. It must not look like an end.
            self._broken = True
            raise
        return b''

    async def close(self) -> None:
        """Hang up."""
        await self._response.aclose()


class ReadAnswer:
    """An answer that has been read (``exchange.Answer``)."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = _lower(response.headers)
        self._body: bytes = response.content

    def read(self) -> bytes:
        """Return the body, then nothing."""
        body, self._body = self._body, b''
        return body

    def close(self) -> None:
        """Do nothing: the connection is not held."""


class AsyncReadAnswer:
    """An answer that has been read (``exchange.AsyncAnswer``)."""

    def __init__(self, response: Any) -> None:
        self._answer = ReadAnswer(response)
        self.status = self._answer.status
        self.headers = self._answer.headers

    async def read(self) -> bytes:
        """Return the body, then nothing."""
        return self._answer.read()

    async def close(self) -> None:
        """Do nothing: the connection is not held."""


class PackageOpener:
    """Asks by the caller's client (``exchange.Open``).

    Args:
        client: an ``OpenAI``.
        response: the answer to the POST, which is there already.
        idle_s: seconds of silence after which an answer counts as lost.
    """

    def __init__(self, client: Any, response: Any, idle_s: float) -> None:
        # How often it is tried, and when, is decided by ``Backoff``.
        self._client = client.with_options(max_retries=0, timeout=idle_s)
        self._response = response

    def __call__(self, asked: Asked) -> Answer:
        """Send a request; return once the head of the answer is there.

        Raises:
            Lost: there is no answer.
        """
        import openai

        if asked.begins:
            return PackageAnswer(self._response)
        kind = type(self._response)
        try:
            if asked.method == 'DELETE':
                return ReadAnswer(self._client.delete(asked.url, cast_to=kind))
            stream = self._client.get(
                asked.url, cast_to=object, stream=True, stream_cls=openai.Stream[object]
            )
        except openai.APIStatusError as ex:
            return ReadAnswer(ex.response)
        except openai.APIConnectionError as ex:
            raise Lost(f'no answer came: {ex!r}') from ex
        return PackageAnswer(stream.response)


class AsyncPackageOpener:
    """Asks by the caller's ``AsyncOpenAI`` (``exchange.AsyncOpen``)."""

    def __init__(self, client: Any, response: Any, idle_s: float) -> None:
        self._client = client.with_options(max_retries=0, timeout=idle_s)
        self._response = response

    async def __call__(self, asked: Asked) -> AsyncAnswer:
        """Send a request; return once the head of the answer is there.

        Raises:
            Lost: there is no answer.
        """
        import openai

        if asked.begins:
            return AsyncPackageAnswer(self._response)
        kind, cls = type(self._response), openai.AsyncStream[object]
        try:
            if asked.method == 'DELETE':
                return AsyncReadAnswer(
                    await self._client.delete(asked.url, cast_to=kind)
                )
            stream = await self._client.get(
                asked.url, cast_to=object, stream=True, stream_cls=cls
            )
        except openai.APIStatusError as ex:
            return AsyncReadAnswer(ex.response)
        except openai.APIConnectionError as ex:
            raise Lost(f'no answer came: {ex!r}') from ex
        return AsyncPackageAnswer(stream.response)
