"""How a process makes a stream: it asks the supervisor, and begins to produce."""

from __future__ import annotations

import io
import time
from typing import Any

from shmstream.errors import LocalError, NoRoom, SupervisorUnavailable
from shmstream.ids import validate_id
from shmstream.metrics.catalogue import REFUSALS
from shmstream.process.attachment import Attachment
from shmstream.process.live_producers import CLOSED
from shmstream.process.this_process import ThisProcess
from shmstream.producer import Producer
from shmstream.stream_end import DID_NOT_BEGIN

_EVICTED_MEMORY_S = 1.5
"""How long a new stream waits for the memory of a stream that has just been evicted.
A process needs less time than that to unmap an evicted stream that nobody in it reads.
"""

_ASK_AGAIN_S = 0.05


def new_stream(
    attachment: Attachment,
    conv_id: str,
    content_type: str | None,
    capacity: int | None,
    owner: bytes,
    kept_headers: bytes = b'',
) -> Producer:
    """Make a stream and return its producer.

    Args:
        attachment: the attachment that the producer will hold.
        conv_id: the conversation id, not checked yet.
        content_type: the media type of the bytes; None leaves the stream pending.
        capacity: bytes of the ring; None: the deployment's setting.
        owner: the name space.
        kept_headers: as for ``Producer.begin``; not for a pending stream.

    Raises:
        As ``Streams.create``.
    """
    validate_id(conv_id)
    process = attachment.process
    lock: io.FileIO | None = None
    made: list[Producer] = []
    try:
        process.connect()
        lock = _ask_for_stream(
            process,
            owner=owner.hex(),
            id=conv_id,
            capacity=capacity,
            pending=content_type is None,
        )
        if lock is None:
            # The kernel drops a passed descriptor if this process has no descriptor
            # left.
            raise NoRoom('no descriptor left for the stream')
        segment = process.mappings.share_locked(lock.fileno())
        # C code puts the producer into the list: a signal handler that raises while
        # ``Producer`` returns cannot leave a producer that this function does not know.
        made.extend(map(Producer, (attachment,), (segment,), (lock,)))
        if content_type is not None:
            _begin(made[0], content_type, kept_headers)
        return made[0]
    except BaseException as ex:
        _count(process, ex)
        # A caller that keeps the exception also keeps the objects of this frame, so
        # they must not hold the stream open.
        if made:
            made[0].abort(DID_NOT_BEGIN)
        elif lock is not None:
            lock.close()
        raise


def _count(process: ThisProcess, error: BaseException) -> None:
    if isinstance(error, NoRoom):
        process.counts.add(REFUSALS.of(error.cause))
    elif isinstance(error, SupervisorUnavailable):
        process.counts.add(REFUSALS.of('no_supervisor'))


def _begin(producer: Producer, content_type: str, kept_headers: bytes) -> None:
    try:
        producer.begin(content_type, kept_headers)
    except LocalError as ex:
        # No other code has this producer, so only a close of its attachment can have
        # ended it.
        raise SupervisorUnavailable(CLOSED) from ex


def _ask_for_stream(process: ThisProcess, **fields: Any) -> io.FileIO | None:
    give_up_at = time.monotonic() + _EVICTED_MEMORY_S
    while True:
        try:
            return process.link.client.request('create', **fields)[1]
        except NoRoom as ex:
            if not ex.soon or time.monotonic() >= give_up_at:
                raise
        time.sleep(_ASK_AGAIN_S)
