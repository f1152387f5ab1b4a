"""What a request is answered with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmstream.consumer import Consumer
from shmstream.follower import Follower


@dataclass(frozen=True, slots=True)
class Ended:
    """The body is what is left of a stream that has ended.

    Its length is known, and the reply's headers tell it. Nobody will ever change these
    bytes, so they may be sent without being copied.

    Attributes:
        consumer: the stream.
        offset: the first byte.
        views: all bytes, in order. The stream stays mapped while there is one of them.
        leave: whether the client is to be cut off, to go on elsewhere.
    """

    consumer: Consumer
    offset: int
    views: list[memoryview]
    leave: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Live:
    """The body is what a follower gets of a stream that goes on.

    Its length is not known, so its framing tells the client whether it has all of it.
    A writer may end the body as whole (the closing chunk) only when the follower has
    come to its end. Whatever the follower raises (``OffsetLost``, ``FollowCut``), the
    connection has to be closed without the closing chunk: then the client resumes.

    Attributes:
        consumer: the stream.
        offset: the first byte.
        leave: whether the follower is to be let go.
    """

    consumer: Consumer
    offset: int
    leave: Callable[[], bool]

    def follow(self) -> Follower:
        """Return a follower. It takes nothing before its first step."""
        return self.consumer.follow(self.offset, self.leave)


@dataclass(slots=True)
class Reply:
    """Status, headers and body.

    Attributes:
        status: HTTP status.
        headers: names in lower case, and values. ``content-length`` is among them where
            the length is known.
        body: what to send. Empty for HEAD, whatever ``content-length`` says.
        source: the stream that it is about, for as long as it is being sent.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes | Ended | Live
    source: Consumer | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """The stream has not begun: wait for that, then ask how to go on.

    Attributes:
        consumer: the stream.
        wait_s: how long to wait at the most.
        go_on: returns the reply, whether or not the stream has begun by then; takes
            what the wait has raised, if it has.
    """

    consumer: Consumer
    wait_s: float
    go_on: Callable[[Exception | None], Reply]


@dataclass(frozen=True, slots=True)
class Blocking:
    """The supervisor has to be asked, which takes some seconds at the most.

    Attributes:
        work: returns the reply. Not to be called on an event loop.
    """

    work: Callable[[], Reply]


Later = Pending | Blocking
"""What has to be waited for before there is a reply."""
