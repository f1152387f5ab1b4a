"""How owners share the limits: the one place that decides it.

An owner is what an API key stands for, or the ``owner`` of the library. Whatever one of
them does, the others are served (all of it binds as soon as there are two owners; one
alone may use everything):

* **What is live** of an owner may take its share of the sessions and of the memory, no
  more: beyond it that owner is refused, and nobody else. A bound that began only when
  somebody else asked would come too late, since nobody may stop a stream without an end
  (I8). So that streams cannot outgrow it, each is told how much its owner's may still
  take (``memory.room`` keeps to that).
* **What has ended** may fill all that nobody needs, and goes when somebody does: the
  asker's own oldest first; when there are none, the oldest of whoever holds most of
  what is short, if that is no less than the asker would hold. With two owners and a
  share of a half, who keeps within its share never loses anything to the other.

An eighth of the memory is kept free for what is live to grow, and is in nobody's share.
Half of that eighth is for what streams take at the very moment at which it is measured:
who keeps within its share loses nothing before it is gone, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

from shmstream.supervisor.config import SupervisorConfig


class Holding(Protocol):
    """What one owner holds."""

    @property
    def sessions(self) -> int:
        """Sessions, live and ended."""

    @property
    def memory(self) -> int:
        """Bytes of all of them."""

    @property
    def live_sessions(self) -> int:
        """Sessions that are live."""

    @property
    def live_memory(self) -> int:
        """Bytes that nobody can take from it."""

    @property
    def can_lose(self) -> bool:
        """Whether anything of it has ended."""


H = TypeVar('H', bound=Holding)


class Shares:
    """The shares of owners.

    Args:
        config: the limits; ``max_memory`` must be resolved.
    """

    def __init__(self, config: SupervisorConfig) -> None:
        self._config = config
        limit = config.max_memory
        self.usable = limit - limit // 8
        """Bytes that may be held before something goes."""
        self._tolerable = limit - limit // 16
        self._sessions = max(int(config.owner_share * config.max_sessions), 1)
        self._memory = int(config.owner_share * self.usable)

    def of_sessions(self, several: bool) -> int:
        """Sessions that may be live of one owner."""
        return self._sessions if several else self._config.max_sessions

    def of_memory(self, several: bool) -> int:
        """Bytes that what is live of one owner may take."""
        return self._memory if several else self._config.max_memory

    def refusal(self, several: bool, live: int, live_memory: int) -> str | None:
        """Say what an owner would have too much of, if this were live of it."""
        if not several:
            return None
        if live > self._sessions:
            return f'{self._sessions} sessions of this owner are live'
        if live_memory > self._memory:
            return f'live streams of this owner take up its {self._memory} bytes'
        return None

    def shortage(self, sessions: int, memory: int) -> str | None:
        """Say of what there would be too much, if this were there in all."""
        if sessions > self._config.max_sessions:
            return f'{self._config.max_sessions} sessions'
        if memory > self._config.max_memory:
            return f'{self._config.max_memory} bytes'
        return None

    def loser(
        self, asker: H, holdings: Iterable[H], need: int, *, of_memory: bool
    ) -> H | None:
        """Return whose oldest goes for one session more.

        Args:
            asker: who wants it.
            holdings: of all owners.
            need: bytes of it.
            of_memory: whether memory is short, or else sessions are.
        """
        if asker.can_lose:
            return asker
        if of_memory:
            most = _most(holdings)
            return most if most and most.memory >= asker.memory + need else None
        can = (h for h in holdings if h.can_lose)
        most = max(can, key=lambda h: h.sessions, default=None)
        return most if most and most.sessions >= asker.sessions + 1 else None

    def loser_to_growth(
        self, several: bool, holdings: Iterable[H], used: int, free: int
    ) -> H | None:
        """Return whose oldest goes so that what is live can grow; None if nobody's.

        Args:
            several: whether there are several owners.
            holdings: of all owners.
            used: bytes in use by all sessions.
            free: bytes that the file system has left.
        """
        limit = self._config.max_memory
        if used <= self.usable and free >= limit - self.usable:
            return None
        most = _most(holdings)
        if most is None or not several or most.memory > self._memory:
            return most
        enough = used <= self._tolerable and free >= limit - self._tolerable
        return None if enough else most


def _most(holdings: Iterable[H]) -> H | None:
    can = (h for h in holdings if h.can_lose)
    return max(can, key=lambda h: h.memory, default=None)
