"""Ends a stream when nobody listens to it, if the POST that began it says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from shmstream.internals import note_cause
from shmstream.logs.cause import Cause
from shmstream.producer import Producer

log = logging.getLogger('shmstream.http')

_LOOK_S = 0.25
"""How often is looked for listeners."""

_HANDOVER_S = 1.0
"""The shortest time without a listener after which a stream ends. There is no listener
between the headers of a POST's response and its first read."""


async def cancel_unheard(
    producer: Producer, attended: Callable[[], bool], grace_s: float
) -> None:
    """Wait until nobody has listened for a while, and end the stream as cancelled.

    Args:
        producer: the producer of the stream.
        attended: returns whether the POST still waits for its answer.
        grace_s: seconds for which nobody has to listen, ``_HANDOVER_S`` at least.
    """
    loop = asyncio.get_running_loop()
    grace_s = max(grace_s, _HANDOVER_S)
    last_heard, told = loop.time(), False
    while True:
        await asyncio.sleep(_LOOK_S)
        now = loop.time()
        try:
            heard = attended() or producer.followers > 0
        except Exception:
            # A failed look must not end the watch. Somebody may be listening.
            heard = True
            if not told:
                told = True
                log.exception('stream %s: unknown who listens', producer.generation)
        if heard:
            last_heard = now
        elif now - last_heard >= grace_s:
            log.info('stream %s: nobody listens, cancelled', producer.generation)
            note_cause(producer, Cause.UNHEARD)
            producer.cancel()
            return
