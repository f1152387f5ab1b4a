"""A reader that the ring overtakes."""

from __future__ import annotations

from shmstream import Producer
from tests.support.client import Live


def cut_by_the_ring(live: Live, producer: Producer) -> bool:
    """Write until the ring has overtaken a reader that reads nothing meanwhile.

    Args:
        live: a response that follows the stream, and has got a byte of it.
        producer: the producer of the stream, whose ring has far less than 32 MiB.

    Returns:
        Whether the response was cut, and did not end like a whole one.
    """
    # More than all buffers in between hold.
    for _ in range(1024):
        producer.write(bytes(32768))
    live.rest()
    return live.whole is False
