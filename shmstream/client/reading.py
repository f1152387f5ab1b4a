"""The two functions that most callers need."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from shmstream.client.beginning import resumption
from shmstream.client.in_threads import Following
from shmstream.client.limits import Limits
from shmstream.client.on_loops import AsyncFollowing
from shmstream.client.sockets import Sockets

_LIMITS = Limits()


def follow(
    url: str,
    *,
    json: object = None,
    body: bytes | None = None,
    conversation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    offset: int = 0,
    generation: str | None = None,
    limits: Limits = _LIMITS,
    context: ssl.SSLContext | None = None,
) -> Following:
    """Read a stream from a thread; resume by itself, whatever becomes of connections.

    With ``json`` or ``body`` it POSTs to ``url``, and reads the stream that begins with
    that. Otherwise ``url`` is the address of a stream. Nothing is sent before the first
    step of an iteration. Redirects are not followed, and no proxy is used.

    Args:
        url: ``http://`` or ``https://``; percent-encoded.
        json: what the POST sends, as JSON.
        body: what the POST sends, as it is.
        conversation_id: of the stream that the POST begins. None: one that nobody else
            has. Then the answer is found again even if the POST's connection is lost
            before the answer begins; otherwise that loss is an error
            (``NotResumable``), because an older stream may have this id.
        headers: sent with every request, to the origin of ``url`` only.
        offset: the first byte to read; an event must begin there.
        generation: read this generation only.
        limits: how long to wait for what, and how much to hold.
        context: for ``https``.

    Raises:
        LocalError: the arguments contradict each other, or cannot be sent.

    Example::

        asked = {'model': 'm', 'stream': True, 'messages': [...]}
        with follow('http://127.0.0.1:8000/v1/chat/completions', json=asked) as stream:
            for chunk in stream.json():
                print(chunk['choices'][0]['delta'].get('content', ''), end='')
    """
    found = resumption(
        url, json, body, conversation_id, headers, offset, generation, limits
    )
    return Following(found, Sockets(limits, context))


def astream(
    url: str,
    *,
    json: object = None,
    body: bytes | None = None,
    conversation_id: str | None = None,
    headers: Mapping[str, str] | None = None,
    offset: int = 0,
    generation: str | None = None,
    limits: Limits = _LIMITS,
    context: ssl.SSLContext | None = None,
) -> AsyncFollowing:
    """As ``follow``, on an event loop.

    Example::

        async with astream('http://127.0.0.1:8000/v1/stream/chat-1') as stream:
            async for event in stream:
                print(event.data)
    """
    # A program of threads need not load it.
    from shmstream.client.aio import Aio

    found = resumption(
        url, json, body, conversation_id, headers, offset, generation, limits
    )
    return AsyncFollowing(found, Aio(limits, context))
