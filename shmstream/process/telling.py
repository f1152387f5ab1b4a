"""Adds what a process's producers and followers have done to what the process counts.

They note it in attributes of their own, because a write and a delivery cost so little
that to count them in shared memory would be felt (``python -m bench metrics``).
"""

from __future__ import annotations

from shmstream.metrics.catalogue import DRAINING, FOLLOWERS, PRODUCERS
from shmstream.metrics.counts import Counts
from shmstream.process.host import Host
from shmstream.process.live_producers import LiveProducers
from shmstream.process.local_followers import LocalFollowers
from shmstream.process.membership_holder import MembershipHolder


def tell(
    counts: Counts,
    producers: LiveProducers,
    followers: LocalFollowers,
    holder: MembershipHolder,
    host: Host,
) -> None:
    """Count what has been done since the last call, and what is there now."""
    live = producers.all()
    for producer in live:
        producer._tell()
    now = holder.now
    if now is not None:
        now.hubs.threads.tell()
        now.hubs.loops.tell()
    words = counts.words
    for at, number in enumerate(followers.by_transport, FOLLOWERS.at):
        words[at] = max(number, 0)
    words[PRODUCERS.at] = len(live)
    words[DRAINING.at] = int(host.leaving())
