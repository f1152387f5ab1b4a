"""Reads a stream on an event loop, over any number of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

from shmstream.client.events import Event, parsed
from shmstream.client.exchange import AsyncAnswer, AsyncOpen, Lost, error_body_of
from shmstream.client.progress import Progress
from shmstream.client.resumption import Resumption
from shmstream.dialects.framing import Framing
from shmstream.errors import LocalError


class AsyncFollowing(Progress):
    """As ``Following``, on an event loop. ``astream`` makes it; use ``async with``.

    A step that is cancelled or times out (``asyncio.wait_for(anext(...), 15)``) has
    taken nothing: begin the iteration anew, and it goes on at the same offset.

    Example::

        async with astream('http://127.0.0.1:8000/v1/stream/chat-1') as stream:
            async for event in stream:
                print(stream.offset, event.data)
    """

    def __init__(self, resumption: Resumption, opening: AsyncOpen) -> None:
        super().__init__(resumption)
        self._open = opening
        self._opening: asyncio.Future[AsyncAnswer] | None = None
        self._answer: AsyncAnswer | None = None
        self._wait_s = 0.0
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether an answer is being read."""
        return self._answer is not None

    async def raw(self) -> AsyncIterator[bytes]:
        """Iterate over the stream's bytes, whole events at a time."""
        while await self._until_ready():
            yield self._resumption.events.take_all()

    async def raw_events(self) -> AsyncIterator[bytes]:
        """Iterate over the stream's bytes, one event at a time.

        ``offset`` is then exact after each event. A stream without events comes as it
        arrives.
        """
        while await self._until_ready():
            yield self._resumption.events.take()

    async def events(self) -> AsyncIterator[Event]:
        """Iterate over the stream's events, or over its JSON lines."""
        while await self._until_ready():
            events = self._resumption.events
            if events.framing is Framing.OPAQUE:
                raise LocalError('this stream has no events: iterate over raw()')
            if (event := parsed(events.take(), events.framing)) is not None:
                yield event

    def __aiter__(self) -> AsyncIterator[Event]:
        """The same as ``events``."""
        return self.events()

    async def json(self) -> AsyncIterator[Any]:
        """Iterate over the parsed data of the events, but for ``[DONE]``.

        Raises:
            ValueError: the data of an event is not JSON.
        """
        async for event in self.events():
            if not event.is_end_mark:
                yield event.json()

    async def stop(self) -> None:
        """Stop the stream for everybody, and remove it, as ``Following.stop``."""
        stop = self._resumption.stop()
        while True:
            try:
                answer = await self._open(stop.asked)
            except Lost as ex:
                wait_s = stop.failed(ex)
            else:
                try:
                    body = await error_body_of(answer)
                    wait_s = stop.answered(answer.status, answer.headers, body)
                finally:
                    await answer.close()
            if not wait_s:
                break
            await asyncio.sleep(wait_s)

    async def aclose(self) -> None:
        """Hang up. The stream goes on without this reader, and the iteration ends."""
        self._closed = True
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            # It closes what it has opened.
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                await opening.result().close()
        await self._hang_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _until_ready(self) -> bool:
        """Read until something can be delivered; False at the end."""
        resumption = self._resumption
        while not self._closed:
            if resumption.events.ready:
                return True
            if resumption.over:
                return False
            await self._step()
        return False

    async def _step(self) -> None:
        if self._wait_s:
            await asyncio.sleep(self._wait_s)
            self._wait_s = 0.0
        elif self._answer is None:
            await self._ask()
        else:
            await self._read(self._answer)

    async def _ask(self) -> None:
        resumption = self._resumption
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open(resumption.request()))
        try:
            # A step that is cancelled leaves the request under way: a POST must not be
            # sent twice because its caller looks at the clock.
            answer = await asyncio.shield(self._opening)
        except Lost as ex:
            self._opening = None
            self._wait_s = resumption.not_answered(ex)
            return
        except asyncio.CancelledError:
            if self._closed:
                # ``aclose`` has cancelled the request, and not the caller this step.
                return
            raise
        except BaseException:
            self._opening = None
            raise
        self._opening, self._answer = None, answer
        try:
            if not resumption.answered(answer.status, answer.headers):
                body = await error_body_of(answer)
                status, headers = answer.status, answer.headers
                await self._hang_up()
                self._wait_s = resumption.refused(status, headers, body)
        except BaseException:
            await self._hang_up()
            raise

    async def _read(self, answer: AsyncAnswer) -> None:
        resumption = self._resumption
        try:
            data = await answer.read()
        except Lost as ex:
            await self._hang_up()
            if not self._closed:
                self._wait_s = resumption.ended(ex)
            return
        if not data:
            await self._hang_up()
            self._wait_s = resumption.ended(None)
            return
        try:
            resumption.received(data)
        except BaseException:
            await self._hang_up()
            raise

    async def _hang_up(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.close()
