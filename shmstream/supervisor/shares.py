"""How owners share the limits: the one place that decides it.

An owner is what an API key stands for, or the ``owner`` of the library. The shares
apply as soon as there are two owners; a single owner may use everything. They cannot
wait until the second owner needs room: no stream may be stopped to make room (I8), and
no memory can be taken from a reader that maps it.

The memory that an owner holds is of three kinds. Live sessions keep theirs until their
producers end them. Ended sessions can be evicted; but if a reader maps one, its memory
becomes the third kind: gone (``gone``). That is freed when the last reader lets go:
readers of an evicted session are cut, but not at once. So gone memory counts as its
owner's, whoever the readers are::

    |     live     |     gone     |     ended     |
    |<----------- firm ---------->|
    |<------------------- held ------------------>|

* **Memory** is divided. An owner may hold no more than its share of the limit, and its
  firm memory may be no more than its share of seven eighths of the limit. An owner that
  would exceed this is refused, and no other owner is. When an owner holds more than its
  share of the seven eighths, its ended sessions are evicted, the oldest first. No owner
  may use another's share, not even for ended sessions, because these may be mapped when
  the other owner needs it. Each live stream is told how much of its owner's share is
  left, so that streams cannot outgrow it (``memory.room_share``).
* **Sessions**: evicting a session frees its place at once, even if it is mapped. So the
  bound is on an owner's live sessions only, and ended sessions may fill all places that
  nobody needs.

The last eighth is for live streams to grow in, before ended sessions are evicted.

So with two owners and a share of a half each, an owner that keeps within its share (of
seven eighths, for what it holds) loses nothing to the other owner. It is never refused
for what the other holds or maps, and none of its live streams is aborted for want of
memory.

If the shares add up to more than the limit (three owners with a half each, or a share
of one), not every owner can have its share: they are served in the order in which they
ask. For an owner that asks, its own ended sessions are evicted first. Then those of
the owner that holds most are evicted, as long as that owner holds more than an equal
part, and no less than the asker would hold. So an owner within an equal part loses
nothing to another, and an asker may be refused while the others' memory is firm, or
within their equal parts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container
from typing import Protocol, TypeVar

from shmstream.supervisor.config import SupervisorConfig


class Holding(Protocol):
    """What one owner holds; as ``holdings.Holding``."""

    @property
    def sessions(self) -> int:
        """The number of sessions, live and ended."""

    @property
    def held(self) -> int:
        """Bytes of all its segments: live, ended and gone."""

    @property
    def firm(self) -> int:
        """Bytes that cannot be evicted: of live sessions and of gone segments."""

    @property
    def can_lose(self) -> bool:
        """Whether the owner has ended sessions, which can be evicted."""


H = TypeVar('H', bound=Holding)


class Shares:
    """The shares of owners.

    In all methods ``owners`` is the number of owners. The asker counts as one of them,
    and so does an owner that has gone segments only.

    Args:
        config: the limits; ``max_memory`` must not be 0.

    Attributes:
        usable: bytes that may be held before sessions are evicted: seven eighths of the
            limit.
    """

    def __init__(self, config: SupervisorConfig) -> None:
        self._config = config
        limit = config.max_memory
        self.usable = limit - limit // 8
        self._sessions = max(int(config.owner_share * config.max_sessions), 1)
        self._memory = int(config.owner_share * self.usable)
        self._most = int(config.owner_share * limit)

    def several(self, owners: int) -> bool:
        """Whether the shares apply: there are several owners, or they are expected."""
        return self._config.several_owners or owners > 1

    def refusal(self, owners: int, live: int, firm: int) -> str | None:
        """Say which share an owner would exceed; None if it would exceed none.

        Args:
            owners: the number of owners.
            live: the live sessions that it would have.
            firm: the bytes of firm memory that it would have.
        """
        if not self.several(owners):
            return None
        if live > self._sessions:
            return f'{self._sessions} sessions of this owner are live'
        if firm > self._memory:
            return f'live streams of this owner take up its {self._memory} bytes'
        return None

    def excess(self, owners: int, held: int) -> int:
        """Bytes by which an owner that holds ``held`` bytes exceeds its share."""
        return max(held - self._most, 0) if self.several(owners) else 0

    def growth(self, owners: int, holding: Holding) -> int | None:
        """Bytes that an owner's live streams may still take; None: no such bound."""
        if not self.several(owners):
            return None
        rest = min(self._memory - holding.firm, self._most - holding.held)
        return max(rest, 0)

    def shortage(self, sessions: int, memory: int) -> str | None:
        """Say which limit this many sessions or bytes exceed; None if they do not."""
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
        """Return whose oldest sessions may be evicted for memory, first loser first.

        Args:
            owners: the number of owners.
            asker: the owner that needs memory; it loses first.
            holdings: of all owners.
            need: bytes that it needs.
            there: bytes that all owners share.
        """
        least = max(self._sure(owners, there) + 1, asker.held + need)
        return _losers(asker, holdings, lambda h: h.held, least)

    def losers_of_sessions(
        self, owners: int, asker: H, holdings: Collection[H]
    ) -> list[H]:
        """As ``losers_of_memory``, for the place of one session."""
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
        """Return whose oldest session is evicted so that live streams can grow.

        Args:
            owners: the number of owners.
            holdings: of all owners.
            used: bytes that all segments hold.
            free: bytes that the file system has left.
            but: holdings of which nothing more can be evicted.

        Returns:
            The holding, and how many bytes are short; None if nothing has to go, or
            nothing can.
        """
        kept = self._config.max_memory - self.usable
        several = self.several(owners)
        if several and (most := _most(holdings, self._memory, but)) is not None:
            return most, most.held - self._memory
        short = max(used - self.usable, kept - free)
        if short <= 0:
            return None
        # The file system may have less for all owners than the limit.
        there = max(min(self.usable, used + free - kept), 0)
        most = _most(holdings, self._sure(owners, there) if several else 0, but)
        return None if most is None else (most, short)

    def _sure(self, owners: int, there: int) -> int:
        """Bytes that an owner never loses to another, if all share ``there`` bytes."""
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
