"""The layout of a segment: the one place that knows where each field is.

A segment is a header of 4096 bytes, then ``capacity`` bytes of ring. All words are
little-endian u64, 8-byte aligned, and have exactly one writing process at a time; each
writer has cache lines of its own::

    offset  writer                 field
    ------  ---------------------  -----------------------------------------------------
         0  supervisor, LAST       magic            b'SHMSTRM1', or it is not ready
         8  supervisor, once       layout version
        16  supervisor, once       capacity         bytes of the ring
        24  supervisor, once       generation       random, never 0
        32  supervisor, once       created at       unix time, ns; for showing
        40  supervisor, once       producer epoch   of the worker that produces
        48  supervisor, once       asked at         time since boot, ns: when its
                                                    producer asked for it first
        56  supervisor, once       asked on         the id of the boot of ``asked at``
    ------  ---------------------  ----------------------------------------------- 64 --
        64  producer               head             bytes that ever entered
        72  producer               dropped prefix   first stream offset still there
        80  producer               state            pending, live, complete, ...
        88  producer               completed at     unix time, ns; 0 until the end
        96  producer               reserved         ring bytes backed by memory
       104  producer               ended at         time since boot, ns; 0 until then
       112  producer               ended on         the id of the boot of ``ended at``
       120  producer               dialect          number of the dialect; 0 = unknown
    ------  ---------------------  ---------------------------------------------- 128 --
       128  supervisor             cancelled        time since boot, ns; 0 = no
       136  supervisor             evicted          time since boot, ns; 0 = no
       144  supervisor             owner's room     bytes + 1 that the live streams of
                                                    its owner may still take together,
                                                    as last published; 0 = no limit but
                                                    that of all owners together
       152  supervisor             cancelled by     ``logs.cause``; written before
                                                    cancelled
    ------  ---------------------  ---------------------------------------------- 192 --
       192  producer               begun            1 once the stream has begun
       200  producer               counted          bytes, of head, that are in the
                                                    metrics (``metrics``)
       208  producer               first byte at    time since boot, ns; 0 until then
       216  producer, at its end   cause            why it has ended (``logs.cause``);
                                                    ``COUNTED`` is added once the end is
                                                    in the metrics, then ``TOLD`` once
                                                    the line about the stream is logged
                                                    (``logs.life_line``)
       224  producer               upstream status  of the answer; 0 = there is none
       232  producer, before live  trace id         of the request that began it, the
                                                    upper half first; 0 = none
       248  producer, before live  span id          of that request; 0 = none
    ------  ---------------------  ---------------------------------------------- 256 --
       256  producer, at its end   failure length   bytes; 0 = none, or told in-band
       264  producer, at its end   failure          UTF-8, up to 248 bytes
    ------  ---------------------  ---------------------------------------------- 512 --
       512  reader worker k        places[k]        epoch tag | place on k's board
                                                    + 1, or 0; k in 0..63
    ------  ---------------------  --------------------------------------------- 1024 --
      1024  supervisor, once       owner digest     32 bytes
      1056  supervisor, once       id length        bytes
      1064  supervisor, once       conversation id  UTF-8, up to 512 bytes
    ------  ---------------------  --------------------------------------------- 1600 --
      1600  producer, once         alias length     bytes; 0 = no alias, or not yet
      1608  producer, once         alias            UTF-8, up to 440 bytes
    ------  ---------------------  --------------------------------------------- 2048 --
      2048  producer, before live  type length      bytes
      2056  producer, before live  content type     ASCII, up to 256 bytes
      2312  producer, before live  kept length      bytes
      2320  producer, before live  kept headers     lines of the answer's headers that
                                                    replays have too, up to 752 bytes
    ------  ---------------------  --------------------------------------------- 3072 --
      3072  reader worker k        followers[k]     epoch tag | followers, k in 0..63
    ------  ---------------------  --------------------------------------------- 3584 --
      3584  reader worker k        served[k]        resumes << 32 | followers, of all
                                                    that the workers of slot k ever had
    ------  ---------------------  --------------------------------------------- 4096 --
      4096  producer               data[capacity]   offset % capacity

"Producer" is the process that holds the ``flock`` of the segment's file; after the
producer's death, that is the supervisor. Offsets are absolute stream offsets.
``shmstream.clock`` says which clock is for what.

Shared words are written only by item assignment to a ``memoryview.cast('Q')``, which is
one aligned store. ``struct.pack_into`` must not be used here: it writes a zero first,
and readers see the zero (CPython gh-156866).
"""

from __future__ import annotations

import sys
from typing import Final

if sys.byteorder != 'little':  # pragma: no cover
    raise ImportError('shmstream needs a little-endian machine')

MAGIC: Final = int.from_bytes(b'SHMSTRM1', 'little')
LAYOUT_VERSION: Final = 6
HEADER_BYTES: Final = 4096
WORD: Final = 8
MAX_SLOTS: Final = 64
"""Workers that can be attached at the same time. A word for each: 8 cache lines."""

MIN_CAPACITY: Final = 4096
MAX_CAPACITY: Final = 1 << 30
MAX_CONTENT_TYPE: Final = 256
MAX_KEPT: Final = 752
MAX_FAILURE: Final = 248

# Indices into the header seen as u64 words.
W_MAGIC: Final = 0
W_VERSION: Final = 1
W_CAPACITY: Final = 2
W_GENERATION: Final = 3
W_CREATED: Final = 4
W_PRODUCER_EPOCH: Final = 5
W_ASKED: Final = 6
W_ASKED_BOOT: Final = 7

W_HEAD: Final = 8
W_DROPPED: Final = 9
W_STATE: Final = 10
W_COMPLETED: Final = 11
W_RESERVED: Final = 12
W_ENDED: Final = 13
W_ENDED_BOOT: Final = 14
W_DIALECT: Final = 15

W_CANCELLED: Final = 16
W_EVICTED: Final = 17
W_OWNER_ROOM: Final = 18
W_CANCELLED_BY: Final = 19

W_BEGUN: Final = 24
W_COUNTED: Final = 25
W_FIRST_BYTE: Final = 26
W_CAUSE: Final = 27
W_UPSTREAM_STATUS: Final = 28
W_TRACE: Final = 29
W_SPAN: Final = 31

W_FAILURE_LENGTH: Final = 32

W_PLACES: Final = 64
W_ID_LENGTH: Final = 132
W_ALIAS_LENGTH: Final = 200
W_TYPE_LENGTH: Final = 256
W_KEPT_LENGTH: Final = 289
W_FOLLOWERS: Final = 384
W_SERVED: Final = 448

TOLD: Final = 1 << 32
"""The bit of the word cause that says that the line about the stream is logged."""

COUNTED: Final = 1 << 33
"""The bit of the word cause that says that the metrics have counted the end."""

EPOCH_TAG: Final = (1 << 64) - (1 << 20)
"""The bits of a worker's word that name the worker: the upper 44 bits of its epoch."""

# Byte ranges of the fields that are not words, or that are read as a block.
B_FAILURE: Final = 264
B_PLACES: Final = slice(512, 1024)
B_OWNER: Final = slice(1024, 1056)
B_ID: Final = 1064
B_ALIAS: Final = 1608
B_TYPE: Final = 2056
B_KEPT: Final = 2320
B_CHANGES: Final = slice(64, 144)
"""All words that a waiting reader waits for: the producer's and the supervisor's."""
