"""What shmstream itself needs of the public objects, and their users do not.

The public classes (``Streams``, ``Producer``, ``Consumer``, ``Follower``, ``Started``)
show what users need. Everything else in them begins with ``_``, and only the module of
the class uses it, and the packages that the classes stand on (``process``, and
``producing`` for the formats). The functions below are how all other modules come to
it; ``tests/test_public_face.py`` checks that. Nothing here promises to stay as it is.
"""

from __future__ import annotations

from shmstream.attaching import Attaching
from shmstream.consumer import Consumer
from shmstream.follower import Follower
from shmstream.logs.cause import Cause
from shmstream.logs.life_line import Fields, fields_of, trace_of
from shmstream.logs.trace_context import TraceContext
from shmstream.metrics.counts import Counts
from shmstream.process.attachment import Attachment
from shmstream.process.host import Host
from shmstream.producer import Producer
from shmstream.ring.layout import W_FIRST_BYTE


def consumer_of(attachment: Attachment, producer: Producer) -> Consumer:
    """Return a consumer of the very stream that a producer of this process writes.

    Args:
        attachment: the attachment that the consumer will hold.
        producer: the producer.
    """
    return Consumer(attachment, producer._segment)


def note_dialect(producer: Producer, dialect: int) -> None:
    """Note the dialect of a stream, which its bytes alone may not tell.

    Args:
        producer: the stream's producer.
        dialect: the number of a dialect (``shmstream.dialects.table``).
    """
    producer._speaks(dialect)


def note_alias(producer: Producer, alias: bytes) -> None:
    """Give a stream its second name, if it has none: see ``Streams.open_alias``.

    Args:
        producer: the stream's producer.
        alias: what ``ids.usable_alias`` has returned.
    """
    producer._also_named(alias)


def note_request(producer: Producer, trace: TraceContext) -> None:
    """Note the ids of the request that a stream answers, for the log."""
    producer._came_from(trace)


def note_upstream_status(producer: Producer, status: int) -> None:
    """Note the status of the upstream's answer, for the log."""
    producer._is_answered(status)


def note_cause(producer: Producer, cause: Cause) -> None:
    """Note why a stream is about to end, for the log."""
    producer._ends_by(cause)


def life_of(producer: Producer) -> Fields:
    """Return what the line about a stream that has ended says."""
    return fields_of(producer._segment)


def first_byte_ns(producer: Producer) -> int:
    """Return when a stream got its first byte: ns since boot, 0 if it has none."""
    at: int = producer._segment.words[W_FIRST_BYTE]
    return at


def trace_of_stream(consumer: Consumer) -> tuple[int, int]:
    """Return the trace id and the span id of the request that began a stream."""
    return trace_of(consumer._segment)


def ignore_cancel(producer: Producer) -> None:
    """Call no stop hook from now on, and do not end the stream at a cancel."""
    producer._ignore_cancel()


def counts_of(streams: object) -> Counts:
    """Return what the process counts in that a ``Streams`` or a consumer belongs to.

    Call it when there is something to count, because a fork has counts of its own.
    What stands in for a ``Streams`` gets words that nobody reads.
    """
    if isinstance(streams, Attaching):
        return streams._process.counts
    if isinstance(streams, Consumer):
        return streams._attachment.process.counts
    return Counts()


def note_transport(
    follower: Follower, transport: str, resumed: bool | None = None
) -> None:
    """Note how a follower's bytes leave, before its first step.

    Args:
        follower: the follower.
        transport: one of ``metrics.catalogue.TRANSPORTS``.
        resumed: whether its reader begins after the stream's beginning; None: if the
            follower does. The reader may get bytes that no follower has read.
    """
    follower._leaves_by(transport, resumed)


def host_of(consumer: Consumer) -> Host:
    """Return the server that runs the process of a consumer."""
    return consumer._host


def stream_key(consumer: Consumer) -> object:
    """Return what all consumers of one stream in this process have in common."""
    return consumer._segment
