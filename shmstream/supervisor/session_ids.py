"""The ids of all sessions, sorted for each owner.

In a sorted list all ids that begin with ``a::`` stand side by side, and a look-up cuts
them out. Each id is in the list once. (With an entry for every ``::`` in an id, an id
of colons only would need five hundred entries.)

A client chooses both the ids of its sessions and up to ten thousand ids of a look-up.
If some of these ids are beginnings of others, many of them find the same sessions::

    asked     a::b    a    a    a::c
    ids       a  a::b  a::b::1  a::b::2  a::c  a::d  b
    found         ------------------                        by a::b
              --                         ----------         by a: the rest

So a session that has been found is skipped from then on: the cost of a look-up depends
on the number of sessions, and not on how many ids find each of them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

from shmstream.ids import MODEL_SEPARATOR

_BEYOND = MODEL_SEPARATOR[:-1] + chr(ord(MODEL_SEPARATOR[-1]) + 1)
"""The first text, in order, after all texts that begin with the separator."""


class SessionIds:
    """Finds ids by their beginning."""

    def __init__(self) -> None:
        self._ids: dict[bytes, list[str]] = {}

    def add(self, owner: bytes, conv_id: str) -> None:
        """Add an id that is not there."""
        insort(self._ids.setdefault(owner, []), conv_id)

    def remove(self, owner: bytes, conv_id: str) -> None:
        """Remove an id that is there."""
        ids = self._ids[owner]
        del ids[bisect_left(ids, conv_id)]
        if not ids:
            del self._ids[owner]

    def after(self, owner: bytes, conv_id: str, most: int) -> list[str]:
        """Return the first ids, in order, that come after this one.

        Args:
            owner: the owner.
            conv_id: any text.
            most: the number of ids, at most.
        """
        ids = self._ids.get(owner, [])
        first = bisect_right(ids, conv_id)
        return ids[first : first + most]

    def found_by(self, owner: bytes, asked: Iterable[str]) -> list[str]:
        """Return the ids that were asked for, and those that begin with one and ``::``.

        Each id is returned once, in the order in which they were asked for. An empty id
        finds nothing, because no session has an empty id.
        """
        ids = self._ids.get(owner, [])
        found: list[str] = []
        taken = bytearray(len(ids))

        def take(first: int, end: int) -> None:
            # Both calls of ``find`` use memchr: even five hundred nested ranges over
            # all ids cost less than describing some of the sessions.
            while (first := taken.find(0, first, end)) >= 0:
                stop = taken.find(1, first, end)
                stop = end if stop < 0 else stop
                taken[first:stop] = b'\1' * (stop - first)
                found.extend(ids[first:stop])
                first = stop

        for conv_id in dict.fromkeys(asked):
            at = bisect_left(ids, conv_id)
            if not conv_id or at == len(ids) or not ids[at].startswith(conv_id):
                continue
            take(at, at + (ids[at] == conv_id))
            first = bisect_left(ids, conv_id + MODEL_SEPARATOR, at)
            take(first, bisect_left(ids, conv_id + _BEYOND, first))
        return found
