"""The transport of event loops: aiohttp, which the service needs anyway.

A connection is made for each request, because a stream takes it for its whole life.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping

import aiohttp
from yarl import URL

from shmstream.client.decoding import BodyDamaged, CodingUnknown, decoder_for
from shmstream.client.errors import NotResumable
from shmstream.client.exchange import Asked, Lost
from shmstream.client.limits import Limits

_FAILURES = (aiohttp.ClientError, OSError, TimeoutError)


class AioAnswer:
    """An answer on a connection of its own (``exchange.AsyncAnswer``)."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        idle_s: float,
    ) -> None:
        self._session = session
        self._response = response
        self._idle_s = idle_s
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }
        self._failure: Exception | None = None
        self._decoder = decoder_for(self.headers.get('content-encoding', ''))

    async def read(self) -> bytes:
        """Return the next bytes below the coding; empty at a clean end.

        Raises:
            Lost: the connection ended, or was silent for too long.
        """
        if self._failure is None:
            try:
                while data := await self._piece():
                    if found := self._decoder.feed(data):
                        return found
                self._decoder.end()
                return b''
            except _FAILURES as ex:
                self._failure = ex
                with contextlib.suppress(BodyDamaged):
                    if found := self._decoder.feed(self._arrived_before()):
                        return found
            except BodyDamaged as ex:
                self._failure = ex
        why = _words(self._failure)
        raise Lost(f'the connection was lost: {why}') from self._failure

    def _arrived_before(self) -> bytes:
        """Return what arrived before the failure and was not read yet.

        aiohttp forgets it otherwise. Whoever reads more slowly than the bytes arrive,
        over connections that are soon cut, would never get on.
        """
        content = self._response.content
        content.set_exception(None)  # type: ignore[arg-type]
        return content.read_nowait()

    async def _piece(self) -> bytes:
        async with asyncio.timeout(self._idle_s):
            return await self._response.content.readany()

    async def close(self) -> None:
        """Hang up."""
        self._response.close()
        await self._session.close()


class Aio:
    """Opens connections (``exchange.AsyncOpen``).

    Args:
        limits: how long to wait for what.
        context: for ``https``; None: the system's certificates.
    """

    def __init__(self, limits: Limits, context: ssl.SSLContext | None) -> None:
        self._limits = limits
        self._context = context

    async def __call__(self, asked: Asked) -> AioAnswer:
        """Send a request; return once the head of the answer is there.

        Raises:
            Lost: there is no answer.
        """
        limits = self._limits
        head_s = limits.begin_s if asked.begins else limits.idle_s
        session = aiohttp.ClientSession(
            # Offsets are counted here, and so is a coding taken off here.
            auto_decompress=False,
            # Cookies of a stream are nobody's business.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.connect_s, connect=limits.connect_s
            ),
            connector=aiohttp.TCPConnector(
                force_close=True, ssl=True if self._context is None else self._context
            ),
        )
        try:
            async with asyncio.timeout(limits.connect_s + head_s):
                response = await session.request(
                    asked.method,
                    # As it is: nothing is to be quoted in another way.
                    URL(asked.url, encoded=True),
                    headers=asked.headers,
                    data=asked.body,
                    allow_redirects=False,
                )
            return AioAnswer(session, response, limits.idle_s)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as ex:
            await session.close()
            raise Lost(f'cannot connect: {_words(ex)}', sent=False) from ex
        except _FAILURES as ex:
            await session.close()
            raise Lost(f'no answer came: {_words(ex)}') from ex
        except CodingUnknown as ex:
            response.close()
            await session.close()
            raise NotResumable(str(ex)) from ex
        except BaseException:
            await session.close()
            raise


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
