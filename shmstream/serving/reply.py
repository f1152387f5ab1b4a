"""The reply to a request, and what to wait for before there is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from shmstream.consumer import Consumer
from shmstream.follower import Follower
from shmstream.internals import note_transport
from shmstream.serving.framed_follower import FramedFollower, Framer

Following = Follower | FramedFollower
"""What sends a stream reads by."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The body is the rest of a stream that has ended.

    Its length is known, and is in the reply's headers. Nobody changes these bytes any
    more, so they may be sent without a copy.

    Attributes:
        consumer: the stream.
        offset: the first byte.
        views: all bytes, in order. Each view keeps the stream mapped.
        leave: returns whether to cut the response, so that the client resumes at
            another worker.

    Example::

        # If it is not long, what has ended is simply bytes.
        with streams.create('long') as producer:
            producer.write(bytes(100_000))
            producer.finish()
        body = Core(streams).answer(Request('GET', b'long', b'from=7')).body
        assert isinstance(body, Ended)
        assert sum(map(len, body.views)) == 99_993
    """

    consumer: Consumer
    offset: int
    views: list[memoryview]
    leave: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Live:
    """The body is what a follower reads of a stream that has not ended.

    Its length is not known, so only the closing chunk tells the client that the body is
    whole. The closing chunk may be sent only when the follower has reached the stream's
    end. If the follower raises (``OffsetLost``, ``FollowCut``), the connection has to
    be closed without the closing chunk: then the client resumes. The connection has to
    be closed in this way, too, if ``Follower.untold_failure`` is not empty at the end.

    A client that is overtaken by the ring has to get something to go on from. So the
    first bytes are read before the reply is made: if they are lost already, the reply
    is an error.

    Attributes:
        consumer: the stream.
        offset: the first byte that the follower reads.
        leave: returns whether the follower is to be let go.
        first: the bytes before ``offset``, which are sent first; often empty.
        follows: is told the follower, if a source waits for this one reader.
        framer: turns what the follower reads into what is sent; None: it is sent as it
            is.
        transport: how the bytes leave (``metrics.catalogue.TRANSPORTS``).
        resumed: whether what is sent begins after the stream's beginning; None: if
            ``offset`` is above 0.

    Example::

        body = Core(streams).answer(Request('GET', b'chat-2')).body
        assert isinstance(body, Live)
        producer.finish()
        print(body.first, *body.follow())
    """

    consumer: Consumer
    offset: int
    leave: Callable[[], bool]
    first: bytes = b''
    follows: Callable[[Follower], None] | None = None
    framer: Framer | None = None
    transport: str = 'library'
    resumed: bool | None = None

    def follow(self, leave: Callable[[], bool] | None = None) -> Following:
        """Return a follower. It holds no resource before its first step.

        Args:
            leave: what is asked instead of ``leave`` of this body.

        Example::

            body = Core(streams).answer(Request('GET', b'chat-2')).body
            producer.finish()
            for piece in body.follow():
                print(piece)
        """
        let_go, framer = leave or self.leave, self.framer
        beat_s = None if framer is None else framer.beat_s
        follower = self.consumer.follow(self.offset, let_go, beat_s=beat_s)
        note_transport(follower, self.transport, self.resumed)
        if self.follows is not None:
            self.follows(follower)
        return follower if framer is None else FramedFollower(follower, framer)


@dataclass(frozen=True, slots=True)
class Cut:
    """The body is these bytes, and then the response has to be cut.

    Attributes:
        data: the bytes.

    Example::

        asked = Request('GET', b'chat-2', b'as=events')
        refused = Problem(503, 'no supervisor').reply()
        assert isinstance(come_back(asked, refused).body, Cut)
    """

    data: bytes


class Place(Protocol):
    """The place of a reader, where there is a bound on readers (``wsgi``)."""

    def give_back(self) -> None:
        """Let another reader have the place. Idempotent."""


@dataclass(slots=True)
class Reply:
    """Status, headers and body.

    Attributes:
        status: HTTP status.
        headers: names in lower case, and values. ``content-length`` is among them if
            the length is known.
        body: what to send. Empty for HEAD, whatever ``content-length`` says.
        source: the stream that the reply is about, for the code that sends the reply.
        place: is given back when the body has been sent; None if there is no bound.

    Example::

        reply = Core(streams).answer(Request('HEAD', b'chat-1'))
        print(reply.status, dict(reply.headers)[b'stream-total-bytes'])
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | Ended | Live | Cut
    source: Consumer | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The stream has not begun: wait until it does, then call ``go_on``.

    Attributes:
        consumer: the stream.
        wait_s: seconds to wait at the most.
        go_on: returns the reply, whether or not the stream has begun. It takes the
            exception that the wait has raised, or None.

    Example::

        with streams.create('chat-3', pending=True) as producer:
            later = Core(streams).answer(Request('GET', b'chat-3'))
            assert isinstance(later, Pending)
            producer.begin('text/plain')
            assert later.go_on(None).status == 200
    """

    consumer: Consumer
    wait_s: float
    go_on: Callable[[Exception | None], Reply]


@dataclass(frozen=True, slots=True)
class Blocking:
    """The supervisor has to be asked, which blocks for some seconds at the most.

    Attributes:
        work: returns the reply. Must not be called on an event loop.

    Example::

        later = Core(streams).answer(Request('DELETE', b'chat-1'))
        assert isinstance(later, Blocking)
        assert later.work().status == 204
    """

    work: Callable[[], Reply]


Later = Pending | Blocking
"""What to wait for before there is a reply."""
