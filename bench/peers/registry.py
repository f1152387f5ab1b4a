"""Which peers there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from bench.measure import Scratch, say
from bench.peers.base import Peer
from bench.peers.floor import Floor
from bench.peers.inproc import Inproc
from bench.peers.nchan import Nchan
from bench.peers.ours import Ours, OursByEvents, OursInFastapi
from bench.peers.redis_shared import RedisShared
from bench.report import Options

LIVE: tuple[type[Peer], ...] = (
    Ours,
    OursInFastapi,
    OursByEvents,
    Floor,
    Inproc,
    Nchan,
    RedisShared,
)
"""The peers that carry live streams."""


@contextlib.contextmanager
def running(
    options: Options, kinds: Sequence[type[Peer]], notes: list[str]
) -> Iterator[list[Peer]]:
    """Start the peers asked for; one that is not installed becomes a note, no error."""
    with Scratch() as scratch, contextlib.ExitStack() as stack:
        peers = []
        for kind in kinds:
            if not options.wants(kind.name):
                continue
            peer = _start(kind(scratch), notes)
            if peer is not None:
                stack.callback(peer.stop)
                peers.append(peer)
        yield peers


def _start(peer: Peer, notes: list[str]) -> Peer | None:
    why = peer.missing()
    if why is not None:
        notes.append(f'{peer.name} skipped: {why}')
        say(notes[-1])
        return None
    try:
        peer.start()
    except BaseException:
        peer.stop()
        raise
    return peer
