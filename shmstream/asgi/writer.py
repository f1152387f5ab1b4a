"""Sending a reply with an ASGI server's ``send``.

A response is not whole if its reader was overtaken by the ring, or has to go on in
another worker. Such a response ends by ``CancelledError``: then the server closes the
connection without the closing chunk, and logs no error. The missing chunk tells the
client that it has to resume.

Bodies are sent with the server's own ``send``, and under gunicorn in a cheaper way if
possible (``DirectWriter``). Any server can be used whose ``send`` waits only while the
client does not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from shmstream.asgi.stalled import Reader
from shmstream.deploy.direct_writer import DirectWriter
from shmstream.errors import FollowCut, OffsetLost
from shmstream.internals import counts_of
from shmstream.metrics.catalogue import BYTES
from shmstream.serving.reply import Cut, Ended, Following, Live, Reply

log = logging.getLogger('shmstream.asgi')

AsgiSend = Callable[[Any], Awaitable[None]]

_DIRECT = 256 * 1024
"""Bytes that the transport is given at once; it tries to write them immediately."""

TURN = 1 << 20
"""Bytes after which other tasks have a turn, however fast the client reads."""

_BYTES_OUT = BYTES.of('out')

COPIED = 64 * 1024
"""Bytes that are copied at once: few enough to stay in the processor's cache."""


async def write(
    reply: Reply, reader: Reader, more_headers: list[tuple[bytes, bytes]]
) -> None:
    """Send a whole reply.

    Args:
        reply: what to send.
        reader: the response under way.
        more_headers: headers that are added to the reply's own.

    Raises:
        CancelledError: the server has to cut the response.
        Whatever ``send`` raises.
    """
    send, body = reader.send, reply.body
    reader.source = reply.source
    await reader.send_head(
        {
            'type': 'http.response.start',
            'status': reply.status,
            'headers': reply.headers + more_headers,
        }
    )
    if isinstance(body, bytes):
        await send(_body(body, more=False))
        return
    await send_stream(body, reader)
    await send(_body(b'', more=False))


async def send_stream(body: Cut | Live | Ended, reader: Reader) -> None:
    """Send a body that is not held in memory as a whole. Does not end it.

    Args:
        body: the body of a reply.
        reader: the response under way, which has been started.

    Raises:
        CancelledError: the server has to cut the response.
        Whatever ``send`` raises.
    """
    send = reader.send
    if isinstance(body, Cut):
        await send(_body(body.data))
        raise asyncio.CancelledError
    if isinstance(body, Ended):
        await send_ended(send, body)
        return
    if body.first:
        await send(_body(body.first))
    with body.follow() as follower:
        await send_live(reader, follower)


async def send_live(
    reader: Reader, follower: Following, took: Callable[[], None] | None = None
) -> None:
    """Send what a follower reads until the stream's end. Does not end the body.

    The hub delivers from its own turn of the event loop: see ``Follower.deliver``.

    Args:
        reader: the response under way, which has been started.
        follower: reads the stream that is sent.
        took: is called whenever ``send`` has returned, because then the client has
            taken enough for more to be sent.

    Raises:
        CancelledError: the client has to resume at another worker. If the ring overtook
            the client, the client has to begin anew.
    """
    send: AsgiSend = reader.send
    if reader.shared:
        # Over HTTP/2 gunicorn keeps the head back until the body begins, and the reader
        # of a quiet stream would wait for it (HTTP/1: ``send_headers_early``).
        await send(_body(b''))

    def send_body(data: bytes) -> Awaitable[None]:
        return send(_body(data))

    async def send_and_tell(data: bytes) -> None:
        await send(_body(data))
        assert took is not None
        took()

    direct = DirectWriter.of(send)
    write = None if direct is None else direct.chunk_writer()
    try:
        deliver = send_body if took is None else send_and_tell
        if reader.in_task:
            async for data in follower:
                await deliver(data)
        else:
            await follower.deliver(deliver, write)
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
    """Send the rest of a stream that has ended. Does not end the body.

    The bytes are copied as little as the server allows. They can be sent from the
    mapping, because nobody changes them any more, and a view keeps the mapping alive.

    Args:
        send: the server's ``send``, after the response has been started.
        body: the rest of the stream.

    Raises:
        CancelledError: the worker leaves, and the client has to resume at another one.
    """
    counts = counts_of(body.consumer)
    direct = DirectWriter.of(send)
    sent, turn = 0, TURN
    for view in body.views:
        at = 0
        while at < len(view):
            # A client that sends its request while the worker leaves still gets a first
            # part of the body.
            if sent and body.leave():
                raise asyncio.CancelledError
            part = view[at : at + _DIRECT]
            if direct is None or not direct.write_view(part):
                # ``send`` waits until the client has read enough of what is queued.
                part = view[at : at + COPIED]
                await send(_body(bytes(part)))
            at += len(part)
            sent += len(part)
            counts.add(_BYTES_OUT, len(part))
            if sent >= turn:
                turn = sent + TURN
                await asyncio.sleep(0)


def _body(data: bytes, *, more: bool = True) -> dict[str, Any]:
    # A message of its own each time: middleware that compresses puts its bytes into it.
    return {'type': 'http.response.body', 'body': data, 'more_body': more}
