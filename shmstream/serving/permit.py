"""How an application says who may read and stop a stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmstream.ids import OWNER_BYTES
from shmstream.serving.reply import Reply
from shmstream.serving.request import Request


@dataclass(frozen=True, slots=True)
class Grant:
    """The client may read one stream, and may do nothing else.

    Other methods than GET and HEAD get 403. A newer stream of the same id is not there
    for this client.

    Attributes:
        owner: the owner of the stream.
        generation: the generation of the stream.

    Example::

        # By a link anybody may read one answer.
        shares = {b'xyz': Grant(owner_of('alice'), consumer.generation)}

        def permit(request):
            shared = shares.get(request.parameter(b'share'))
            return shared or refusal(403, 'This link is of no answer')
    """

    owner: bytes
    generation: str


Verdict = bytes | Grant | Reply
"""What the client may do.

A verdict is either an owner, whose streams the client may read and stop; or a grant; or
a reply that refuses the request.
"""
Permit = Callable[[Request], Verdict]
"""A function that returns what the client of a request may do.

The function may raise ``Problem``; any other exception is answered with 500. It is
called before anything in the request is checked. It must not block, because on an event
loop all other requests would wait for it. ``shmstream.asgi`` takes a coroutine function
as well.
"""


def apply(verdict: Verdict, request: Request) -> Reply | None:
    """Set the request's owner and generation; return the verdict if it is a refusal."""
    if isinstance(verdict, bytes):
        request.owner = verdict
    elif isinstance(verdict, Reply):
        return verdict
    else:
        request.owner, request.generation = verdict.owner, verdict.generation
    return None


def checked(owner: bytes) -> bytes:
    """Return the owner.

    Raises:
        TypeError: it has not ``OWNER_BYTES`` bytes.
    """
    # A wrong owner is the application's mistake. A ``TypeError`` becomes 500, which
    # says so. ``digest`` would raise ``InvalidConversationId``, which becomes 400 and
    # blames the client.
    if len(owner) != OWNER_BYTES:
        raise TypeError(f'owner must be {OWNER_BYTES} bytes, not {owner!r}')
    return owner
