"""The settings of a supervisor."""

from __future__ import annotations

from dataclasses import dataclass

from shmstream import defaults


@dataclass(frozen=True)
class SupervisorConfig:
    """Limits and times.

    Attributes:
        capacity: bytes of a session's ring, unless its creator asks for another size.
        ttl_s: seconds that an ended session is kept.
        gc_interval_s: seconds between two collections.
        max_sessions: sessions at one time.
        max_memory: bytes that all segments may take; 0: half of what the file system
            has free when the deployment begins.
        owner_share: the part of ``max_sessions`` and of ``max_memory`` that one owner
            may have while there are several owners, 0 to 1 (``supervisor.shares``).
        several_owners: whether the shares apply from the start; if not, they apply as
            soon as there are several owners.

    Example::

        config = shmstream.SupervisorConfig(capacity=1 << 20, ttl_s=60)
        streams = shmstream.Streams.attach(supervise=config)
    """

    capacity: int = defaults.CAPACITY_BYTES
    ttl_s: float = defaults.TTL_S
    gc_interval_s: float = defaults.GC_INTERVAL_S
    max_sessions: int = defaults.MAX_SESSIONS
    max_memory: int = 0
    owner_share: float = defaults.OWNER_SHARE
    several_owners: bool = False
