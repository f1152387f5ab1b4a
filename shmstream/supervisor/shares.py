"""How owners share the limits: the one place that decides it.

An owner is what an API key stands for, or the ``owner`` of the library. All of this
binds as soon as there are two; one alone may use everything. A bound that began only
when somebody else asked would come too late: nobody may stop a stream without an end
(I8), nor take memory from under who has mapped it.

What an owner holds of memory is of three kinds. What is live stays until its producer
ends it. What has ended goes when it must; but if somebody maps it, it becomes the
third kind, what is gone and still mapped. That goes when the last one lets go: readers
of it are cut, but not at once. So it counts as its owner's, whoever reads it::

    |     live     |     gone     |     ended     |
    |<----------- firm ---------->|
    |<------------------- held ------------------>|

* **Memory** is divided. Of one owner no more is held than its share of the limit, and
  no more is firm than its share of seven eighths: beyond it that owner is refused, and
  nobody else. When more than that is held, what has ended of it goes, its own oldest
  first. Nobody is lent what another has a right to, not even for what has ended: that
  may be mapped when the other comes. So that streams cannot outgrow their owner's part,
  each is told how much of it is left (``memory.room_share`` keeps to that).
* **Sessions**: a place is free at once, whoever reads what had it. So the bound is on
  what is live of an owner. What has ended may fill all places that nobody needs.

The eighth is for what is live to grow before anything can go for it.

With two owners and a share of a half, who keeps within its share (of seven eighths, for
what it holds) therefore loses nothing to the other, is never refused for what the other
holds or maps, and none of its live streams is aborted for want of memory.

Shares that are more than all there is together (three owners and a half each, or a
share of one) cannot all be had. Then who comes first is served first; what has ended
goes for who asks, its own first, then that of whoever holds most, as long as that is
more than an equal part and no less than the asker would hold. So within an equal part
nobody loses anything to another, and who asks may be refused while what the others have
is firm, or within theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from typing import Protocol, TypeVar

from shmstream.supervisor.config import SupervisorConfig


class Holding(Protocol):
    """What one owner holds."""

    @property
    def sessions(self) -> int:
        """Sessions, live and ended."""

    @property
    def held(self) -> int:
        """Bytes of everything: live, ended, and gone."""

    @property
    def firm(self) -> int:
        """Bytes that nobody can take from it: live, and gone."""

    @property
    def can_lose(self) -> bool:
        """Whether anything of it has ended."""


H = TypeVar('H', bound=Holding)


class Shares:
    """The shares of owners.

    In what follows ``owners`` is how many there are: the asker is one of them, and so
    is who has nothing but what is gone.

    Args:
        config: the limits; ``max_memory`` must be resolved.
    """

    def __init__(self, config: SupervisorConfig) -> None:
        self._config = config
        limit = config.max_memory
        self.usable = limit - limit // 8
        """Bytes that may be held before something goes."""
        self._sessions = max(int(config.owner_share * config.max_sessions), 1)
        self._memory = int(config.owner_share * self.usable)
        self._most = int(config.owner_share * limit)

    def several(self, owners: int) -> bool:
        """Whether there are several, or will be."""
        return self._config.several_owners or owners > 1

    def refusal(self, owners: int, live: int, firm: int) -> str | None:
        """Say what an owner would have too much of, if this were live, and firm."""
        if not self.several(owners):
            return None
        if live > self._sessions:
            return f'{self._sessions} sessions of this owner are live'
        if firm > self._memory:
            return f'live streams of this owner take up its {self._memory} bytes'
        return None

    def excess(self, owners: int, held: int) -> int:
        """Bytes by which an owner would hold too much, if it held so many."""
        return max(held - self._most, 0) if self.several(owners) else 0

    def growth(self, owners: int, holding: Holding) -> int | None:
        """Bytes that an owner's live streams may still take; None: all there is."""
        if not self.several(owners):
            return None
        rest = min(self._memory - holding.firm, self._most - holding.held)
        return max(rest, 0)

    def shortage(self, sessions: int, memory: int) -> str | None:
        """Say of what there would be too much, if this were there in all."""
        if sessions > self._config.max_sessions:
            return f'{self._config.max_sessions} sessions'
        if memory > self._config.max_memory:
            return f'{self._config.max_memory} bytes'
        return None

    def losers_of_memory(
        self,
        owners: int,
        asker: H,
        holdings: Collection[H],
        need: int,
        there: int,
    ) -> list[H]:
        """Return whose oldest may go for memory of the asker's, who is first to lose.

        Args:
            owners: how many there are.
            asker: who wants it.
            holdings: of all owners.
            need: so many bytes.
            there: bytes that there are for all of them.
        """
        least = max(self._sure(owners, there) + 1, asker.held + need)
        return _losers(asker, holdings, lambda h: h.held, least)

    def losers_of_sessions(
        self, owners: int, asker: H, holdings: Collection[H]
    ) -> list[H]:
        """Return whose oldest may go for a place, likewise."""
        sure = min(self._sessions, self._config.max_sessions // self._parts(owners))
        least = max(sure, asker.sessions) + 1
        return _losers(asker, holdings, lambda h: h.sessions, least)

    def loser_to_growth(
        self,
        owners: int,
        holdings: Collection[H],
        used: int,
        free: int,
        but: Container[H] = (),
    ) -> tuple[H, int] | None:
        """Return whose oldest goes so that what is live can grow; None if nobody's.

        Args:
            owners: how many there are.
            holdings: of all owners.
            used: bytes in use by all sessions.
            free: bytes that the file system has left.
            but: of these, nothing more can go.

        Returns:
            The owner, and how many bytes are short.
        """
        kept = self._config.max_memory - self.usable
        several = self.several(owners)
        if several and (most := _most(holdings, self._memory, but)) is not None:
            return most, most.held - self._memory
        short = max(used - self.usable, kept - free)
        if short <= 0:
            return None
        # The file system may have less than the limit, for all of them.
        there = max(min(self.usable, used + free - kept), 0)
        most = _most(holdings, self._sure(owners, there) if several else 0, but)
        return None if most is None else (most, short)

    def _sure(self, owners: int, there: int) -> int:
        """Bytes that an owner never loses to another, of those that are there."""
        return min(self._memory, there // self._parts(owners))

    def _parts(self, owners: int) -> int:
        return max(owners, 2 if self.several(owners) else 1)


def _losers(
    asker: H, holdings: Collection[H], has: Callable[[H], int], least: int
) -> list[H]:
    others = [h for h in holdings if h.can_lose and h is not asker and has(h) >= least]
    others.sort(key=has, reverse=True)
    return [asker, *others] if asker.can_lose else others


def _most(holdings: Collection[H], beyond: int, but: Container[H]) -> H | None:
    can = (h for h in holdings if h.can_lose and h.held > beyond and h not in but)
    return max(can, key=lambda h: h.held, default=None)
