"""From the items of a source to the events that are written into the ring."""

from __future__ import annotations

from shmstream.dialects.framing import Framing
from shmstream.dialects.incoming import Incoming
from shmstream.dialects.table import default_dialect
from shmstream.internals import note_dialect
from shmstream.producer import Producer
from shmstream.producing.failures import NotEncodable
from shmstream.producing.formats import Format
from shmstream.producing.portions import Portions


class Writing:
    """Encodes the items of one source. Writes nothing itself.

    Args:
        producer: the producer of the stream, which is told the stream's dialect.
        format: the format of the stream.

    Attributes:
        incoming: knows how the events end, and whether the source is over.
    """

    def __init__(self, producer: Producer, format: Format) -> None:
        self._producer = producer
        self._encoder = format._encoder()
        self.incoming = Incoming(format.content_type, format.headers)
        self._dialect = default_dialect(format.content_type)
        self._most = producer.capacity - Portions(producer.capacity).last_event
        self._see_dialect()

    @property
    def over(self) -> bool:
        """Whether the source has said that its stream is over."""
        return self.incoming.over

    def take(self, item: object) -> bytes:
        """Return the events that are whole now that the source yielded an item.

        Raises:
            NotEncodable: the format cannot say the item, or the item as one event is
                larger than the ring.
        """
        if isinstance(item, (bytes, bytearray, memoryview)):
            self._encoder.verbatim()
            chunk = bytes(item)
        else:
            chunk = self._encoder.encode(item)
            framed = self.incoming.framing is not Framing.OPAQUE
            if framed and len(chunk) > self._most:
                raise NotEncodable(
                    f'the source yielded an event of {len(chunk)} bytes; the ring of'
                    f' this stream holds {self._producer.capacity}'
                    ' (SHMSTREAM_SESSION_BYTES)'
                )
        events = self.incoming.feed(chunk)
        self._see_dialect()
        return events

    def rest(self) -> bytes:
        """Return what the stream lacks at its source's end."""
        held = self.incoming.rest(clean=True)
        if held and self.incoming.framing is Framing.EVENTS:
            # An event that lacks its blank line would swallow what follows it.
            held = held.rstrip(b'\r\n') + b'\n\n'
        return held + self._encoder.end(self.incoming)

    def _see_dialect(self) -> None:
        if self._dialect is not self.incoming.dialect:
            self._dialect = self.incoming.dialect
            note_dialect(self._producer, self._dialect.number)
