"""Frames on the control socket (a Unix stream socket).

::

     0                   4                                     4 + length
    +-------------------+-------------------------------------+
    | length, u32 big   | one JSON object, UTF-8              |
    +-------------------+-------------------------------------+

A request has ``op`` and the operation's own fields; the reply to it has ``ok``. There
is one reply per request, in order. One that lists sessions may have several frames: all
but the last have ``more``, and other connections are served between them. A descriptor
(the locked segment, in the reply to ``create``) travels with the first byte of its
frame.

A request also has ``asked`` and ``until``, in ns since boot (``shmstream.clock``): when
it was asked for first, and until when its asker waits for it; and ``again`` if it may
have been carried out already, by a supervisor that died before it could say so. Nothing
is done for an asker whose time is over (the reply has ``late``) or who has hung up
(only ``leave`` is: who goes does not wait). So a request that was given up can never be
carried out later, and every request may be made again:

    cancel, evict   concern no stream whose producer asked for it after ``asked``
    withdraw        the same
    create, again   takes the place of no such stream either; what its own first try
                    may have left has the same ``asked``, and goes
    the others      change nothing, or what they change is the same the second time

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
    list     -                                         sessions, more
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
"""10,000 ids of 512 bytes, escaped at the worst, and then some."""
MAX_REPLY: Final = 64 << 20


to_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(',', ':')).encode
"""Returns a value as JSON text, as short as it can be."""


def encode(message: Message | str) -> bytes:
    """Return the message, or its text as JSON, as a frame."""
    body = (message if isinstance(message, str) else to_json(message)).encode()
    return LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into messages.

    Args:
        limit: bytes that a frame's body may have.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes as they come; return the messages that they complete.

        Raises:
            ControlError: a frame is too long or is not a JSON object; the connection
                is of no more use.
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
