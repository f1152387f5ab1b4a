"""What ``Streams.start`` returns: all that a response is made of."""

from __future__ import annotations

import asyncio

from shmstream.consumer import Consumer
from shmstream.follower import Follower
from shmstream.kept_headers import kept
from shmstream.producing.pace import Pace
from shmstream.producing.production import Production
from shmstream.response_headers import ALWAYS


class Started:
    """A stream that a source is being written into, by the process that started it.

    To drop it changes nothing: the production goes on to its end.

    Attributes:
        consumer: reads this very stream, also when a newer one takes over the id.

    Example::

        started = await streams.start('chat-1', model('Hello'))
        response = StreamingResponse(started.follow(), headers=started.headers)
    """

    def __init__(self, production: Production, consumer: Consumer, pace: Pace) -> None:
        self._production = production
        self._pace = pace
        self.consumer = consumer
        pace.expects(self)

    @property
    def conv_id(self) -> str:
        """The conversation id."""
        return self.consumer.conv_id

    @property
    def generation(self) -> str:
        """The stream's generation, 16 hexadecimal digits."""
        return self.consumer.generation

    @property
    def content_type(self) -> str:
        """The media type of the stream."""
        return self.consumer.content_type

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a response that sends the stream from its beginning.

        ``content-type`` is one of them. ``stream-generation`` is what a client sends
        back when it resumes or stops.
        """
        found = [
            (b'content-type', self.content_type.encode('latin-1')),
            *ALWAYS,
            (b'stream-offset', b'0'),
            (b'stream-generation', self.generation.encode()),
            *kept(self.consumer.kept_headers),
        ]
        return {name.decode(): value.decode('latin-1') for name, value in found}

    def follow(self, offset: int = 0) -> Follower:
        """Return an iterator over the stream, for ``for`` or ``async for``.

        It is for the response that began the stream, and goes on to the stream's end
        even if this process has been told to leave. The source waits, 30 seconds at the
        most, rather than overtake the first such iterator. A response whose iterator
        raises has to be cut, without the closing chunk: then its client resumes.

        Args:
            offset: where to begin.

        Raises:
            LocalError: the offset is negative, or above 2^63 - 1.

        Example::

            async for chunk in started.follow():
                print(chunk)
        """
        follower = self.consumer.follow(offset)
        self.waits_for(follower)
        return follower

    def waits_for(self, follower: Follower) -> None:
        """Have the source wait for a follower of your own; only the first one counts.

        ``follow`` does so for the followers that it returns.

        Example::

            follower = started.consumer.follow()
            started.waits_for(follower)
        """
        self._pace.reads(follower)

    def join(self, timeout_s: float) -> bool:
        """Wait until the source is closed; blocks the thread.

        Args:
            timeout_s: seconds to wait, at most.

        Returns:
            False if the source is not closed yet.

        Example::

            if not started.join(10.0):
                print('still running')
        """
        return self._production.ended.wait(timeout_s)

    async def ajoin(self, timeout_s: float) -> bool:
        """As ``join``, on an event loop.

        Example::

            if not await started.ajoin(10.0):
                print('still running')
        """
        ended = self._production.ended
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not ended.is_set() and loop.time() < deadline:  # noqa: ASYNC110
            # Rarely called, and mostly when the end is near: no thread has to wait.
            await asyncio.sleep(min(0.02, timeout_s))
        return ended.is_set()
