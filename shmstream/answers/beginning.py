"""An answer that is about to begin, and the reply to the request that began it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from shmstream.producing.formats import Format, format_of
from shmstream.producing.sources import Source, check
from shmstream.producing.started import Started
from shmstream.serving.get_head_delete import failed, from_the_beginning
from shmstream.serving.permit import Verdict, apply, checked
from shmstream.serving.problems import Problem
from shmstream.serving.reply import Live, Reply
from shmstream.serving.request import Request
from shmstream.settings import Settings
from shmstream.streams import Streams


def of_environment() -> Streams:
    """Return the deployment of the environment.

    Without gunicorn the first process that attaches starts a supervisor.

    Raises:
        SettingsError: a variable has a value that cannot be used.
    """
    settings = Settings.from_environment()
    return Streams.attach(settings.dir, supervise=settings.supervisor())


@dataclass(frozen=True)
class Beginning:
    """What a handler of the application has asked for.

    Attributes:
        conv_id: the conversation id, not checked yet: a wrong one is the client's.
        source: yields the answer.
        format: how its items enter the stream.
        capacity: bytes of the ring; None: the deployment's setting.

    Raises:
        LocalError: the source or the format is none.
    """

    conv_id: str
    source: Source
    format: str | Format
    capacity: int | None

    def __post_init__(self) -> None:
        # At once: these two are the application's mistakes, and its handler is told.
        check(self.source)
        format_of(self.format)


def refused(verdict: Verdict, request: Request) -> Reply | None:
    """Return the reply to a request that may not begin or look up answers, or None.

    Args:
        verdict: what the client may do.
        request: the request; its owner is set.
    """
    refusal = apply(verdict, request)
    if refusal is not None:
        return refusal
    if request.generation is not None:
        return Problem(403, 'This request may only read its stream').reply()
    try:
        checked(request.owner)
    except TypeError as ex:
        return failed(request, ex)
    return None


def begun(started: Started, mount: str | None) -> Reply:
    """Return the reply that sends an answer from its beginning.

    Args:
        started: the stream.
        mount: the path under which the client finds streams; None: nobody knows it.
    """
    reply = from_the_beginning(started.consumer, leave=_stays)
    assert isinstance(reply.body, Live)
    reply.body = replace(reply.body, follows=started.waits_for)
    if mount is not None:
        address = address_of(mount, started.conv_id).encode()
        reply.headers.append((b'content-location', address))
    return reply


def address_of(mount: str, conv_id: str) -> str:
    """Return the address of a stream below the routes of an ``Answers``.

    Args:
        mount: their path, percent-encoded.
        conv_id: the stream's id.
    """
    if '/' in conv_id or conv_id in ('.', '..'):
        # Routers decode a path before they split it, and clients resolve the dots.
        return f'{mount}/?conv_id={quote(conv_id, safe="")}'
    return f'{mount}/{quote(conv_id, safe="")}'


def _stays() -> bool:
    """Let the response go on to its end: its client may not know how to resume."""
    return False
