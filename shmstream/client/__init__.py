"""Reads streams over HTTP, from another program, and resumes by itself.

``follow`` reads in a thread, ``astream`` on an event loop; ``resumable`` makes the
streams of the package ``openai`` resume. None of them needs more than shmstream does::

    reading.py           follow and astream
    in_threads.py        reads a stream in a thread
    on_loops.py          the same on an event loop
    openai_streams.py    makes the streams of the package openai resume
    progress.py          how far a reader has come
    limits.py            how long a client waits for what
    beginning.py         the first request
    resumption.py        what is asked next, and what the answers mean; without I/O
    whole_events.py      the whole events that have arrived, and their offset
    events.py            parses an event
    backoff.py           how long to wait before the next attempt
    refusals.py          answers that are errors, and the request to stop
    address.py           the addresses of streams
    exchange.py          what a transport does
    sockets.py           the transport of threads, by http.client
    aio.py               the transport of event loops, by aiohttp
    openai_transport.py  the transport by a client of the package openai
    decoding.py          takes off what a proxy has compressed
    errors.py            what can go wrong
"""

from shmstream.client.errors import (
    EventTooLong,
    NotResumable,
    Refused,
    StreamFailed,
    Unreachable,
)
from shmstream.client.events import Event
from shmstream.client.in_threads import Following
from shmstream.client.limits import Limits
from shmstream.client.on_loops import AsyncFollowing
from shmstream.client.openai_streams import following_of, resumable
from shmstream.client.reading import astream, follow

__all__ = [
    'AsyncFollowing',
    'Event',
    'EventTooLong',
    'Following',
    'Limits',
    'NotResumable',
    'Refused',
    'StreamFailed',
    'Unreachable',
    'astream',
    'follow',
    'following_of',
    'resumable',
]
