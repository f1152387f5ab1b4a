"""Frames on the control socket (a Unix stream socket).

::

     0                   4                                     4 + length
    +-------------------+-------------------------------------+
    | length, u32 big   | one JSON object, UTF-8              |
    +-------------------+-------------------------------------+

A request has ``op`` and the operation's own fields; its reply has ``ok``. There is one
reply per request, in order. A reply that lists sessions may have several frames: all
but the last have ``more`` = true, and other connections are served between them. A
descriptor (the locked segment, in the reply to ``create``) travels with the first byte
of its frame.

A request also has, in ns since boot (``shmstream.clock``), ``asked``: when it was first
made; and ``until``: how long its client waits. It has ``again`` if a supervisor that
died before it could reply may have carried it out already.

The supervisor carries out no request after its ``until`` (the reply has ``late``), and
none of a client that has hung up, except ``leave``, whose client does not wait. So a
request that a client has given up is never carried out later, and every request may be
made again:

    cancel, evict,  leave alone a stream whose producer asked for it after ``asked``
    withdraw
    create, again   leaves such a stream alone too; a stream of its own first try has
                    the same ``asked``, and is replaced
    the others      change nothing, or change the same thing the second time

    op       fields                                    reply
    -------  ----------------------------------------  --------------------------------
    hello    pid, masters, slot, epoch, time_space     slot, epoch
    join     pid (of a successor's master)             -
    leave    pid (of a master that goes)               -
    create   owner, id, capacity, pending              generation, digest + descriptor;
                                                       or replaced: a generation;
                                                       or no_room, and soon
    cancel   owner, id, generation                     found
    evict    owner, id, generation                     found
    withdraw owner, id, generation                     found
    lookup   owner, ids                                sessions, more
    list     owner, id, after, most; all may be null   sessions, more
    status   -                                         pid, format, masters, ...
    room     -                                         - (published in the table)
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

from shmstream.errors import ControlError

Message = dict[str, Any]

LENGTH: Final = struct.Struct('>I')
MAX_REQUEST: Final = 8 << 20
"""Bytes of a frame: room for 10,000 ids of 512 bytes, with many bytes escaped."""
MAX_REPLY: Final = 64 << 20


to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(',', ':')).encode
"""Returns a value as JSON text without spaces."""


def encode(message: Message | str) -> bytes:
    """Return the frame of a message, which is given as such or as JSON text."""
    body = (message if isinstance(message, str) else to_json(message)).encode()
    return LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into messages.

    Args:
        limit: the most bytes that a frame's body may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they come; return the messages that they complete.

        Raises:
            ControlError: a frame is too long, or is not a JSON object: close the
                connection.
        """
        self._buffer += data
        messages = []
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > self._limit:
                raise ControlError(f'frame of {length} bytes, at most {self._limit}')
            end = LENGTH.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            try:
                message = json.loads(body)
            except (ValueError, RecursionError) as ex:
                raise ControlError(f'frame is not JSON: {ex}') from ex
            if not isinstance(message, dict):
                raise ControlError('frame is not a JSON object')
            messages.append(message)
        return messages
