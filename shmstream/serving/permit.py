"""The application's word on who may ask, and whose streams they see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shmstream.serving.reply import Reply
from shmstream.serving.request import Request


@dataclass(frozen=True, slots=True)
class Grant:
    """Whoever asks may see one generation only.

    Attributes:
        owner: whose streams.
        generation: the only generation.
    """

    owner: bytes
    generation: str


Verdict = bytes | Grant | Reply
"""An owner, who may see and stop all streams of its own; or a grant; or a refusal."""

Permit = Callable[[Request], Verdict]
"""Says who may ask. It may raise ``Problem``, too; anything else that it raises is 500.

It is asked before anything is looked at, and must not wait: on an event loop it would
keep everybody waiting. ``shmstream.asgi`` takes coroutine functions as well.
"""


def apply(verdict: Verdict, request: Request) -> Reply | None:
    """Note in the request what it may see; return the refusal if there is one."""
    if isinstance(verdict, bytes):
        request.owner = verdict
    elif isinstance(verdict, Reply):
        return verdict
    else:
        request.owner, request.generation = verdict.owner, verdict.generation
    return None
