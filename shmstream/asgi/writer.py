"""Sending a reply with an ASGI server's ``send``.

A response that must not end as if it were whole (its reader was overtaken, or has to go
on elsewhere) ends by ``CancelledError``: the server closes the connection without the
closing chunk, which is how a client knows that it must resume, and logs no error.

Bodies are sent with the server's own ``send``, and under gunicorn in a cheaper way, if
there is one (``DirectWriter``). Every server is good for that whose ``send`` waits only
while the client does not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream.asgi.stalled import Reader
from shmstream.deploy.gunicorn_insides import DirectWriter
from shmstream.errors import FollowCut, OffsetLost
from shmstream.follower import Follower
from shmstream.serving.reply import Ended, Live, Reply

log = logging.getLogger('shmstream.asgi')

AsgiSend = Callable[[Any], Awaitable[None]]

_DIRECT = 256 * 1024
"""Bytes that a transport is given at once: it tries to write them without delay."""

_TURN = 1 << 20
"""Bytes after which others have their turn, however fast the client reads."""

_COPIED = 64 * 1024
"""Bytes that are copied at once: they stay in the processor's cache."""


_END = {'type': 'http.response.body', 'body': b'', 'more_body': False}


async def write(
    reply: Reply, reader: Reader, more_headers: list[tuple[bytes, bytes]]
) -> None:
    """Send a whole reply.

    Args:
        reply: what to send.
        reader: the response under way.
        more_headers: headers beside the reply's own.

    Raises:
        CancelledError: the server is to cut the response.
        Whatever ``send`` raises.
    """
    send, body = reader.send, reply.body
    reader.source = reply.source
    await send(
        {
            'type': 'http.response.start',
            'status': reply.status,
            'headers': reply.headers + more_headers,
        }
    )
    if isinstance(body, bytes):
        await send({'type': 'http.response.body', 'body': body, 'more_body': False})
        return
    if isinstance(body, Live):
        with body.follow() as follower:
            await send_live(send, follower)
    else:
        await send_ended(send, body)
    await send(_END)


async def send_live(send: AsgiSend, follower: Follower) -> None:
    """Send what a follower gets until the stream's end, but for the end of the body.

    The hub delivers from its turn of the loop: see ``Follower.deliver``.

    Raises:
        CancelledError: the client has to go on elsewhere, or from the beginning.
    """

    def send_body(data: bytes) -> Awaitable[None]:
        return send(_body(data))

    direct = DirectWriter.of(send)
    write = None if direct is None else direct.chunk_writer()
    try:
        await follower.deliver(send_body, write)
        if follower.untold_failure:
            log.info('reader cut: %s', follower.untold_failure)
            raise asyncio.CancelledError
    except OffsetLost as ex:
        log.info('reader overtaken by the ring: %s', ex)
        raise asyncio.CancelledError from ex
    except FollowCut as ex:
        log.debug('%s', ex)
        raise asyncio.CancelledError from ex


async def send_ended(send: AsgiSend, body: Ended) -> None:
    """Send what is left of a stream that has ended, but for the end of the body.

    Copied as little as the server allows: nobody will ever change these bytes, and
    while there is a view of them the mapping stays.

    Args:
        send: the server's, after the response has been started.
        body: what is left.

    Raises:
        CancelledError: the worker leaves; the client is cut off, and resumes elsewhere.
    """
    direct = DirectWriter.of(send)
    sent, turn = 0, _TURN
    for view in body.views:
        at = 0
        while at < len(view):
            # A client that comes while the worker leaves gets a first part, so that no
            # request is in vain.
            if sent and body.leave():
                raise asyncio.CancelledError
            part = view[at : at + _DIRECT]
            if direct is None or not direct.write_view(part):
                # ``send`` waits until the client has read what there is.
                part = view[at : at + _COPIED]
                await send(_body(bytes(part)))
            at += len(part)
            sent += len(part)
            if sent >= turn:
                turn = sent + _TURN
                await asyncio.sleep(0)


def _body(data: bytes) -> dict[str, Any]:
    return {'type': 'http.response.body', 'body': data, 'more_body': True}
