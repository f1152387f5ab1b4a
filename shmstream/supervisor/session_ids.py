"""The ids of all sessions, sorted for each owner.

In a sorted list all ids that begin with ``a::`` stand side by side, and a look-up cuts
them out. Each id is in the list once. An entry for every ``::`` in an id would be five
hundred entries for an id of colons.

A client chooses both the ids of its sessions and up to ten thousand ids of a look-up.
If these begin with each other, many of them find the same sessions::

    asked     a::b    a    a    a::c
    ids       a  a::b  a::b::1  a::b::2  a::c  a::d  b
    found         ------------------                        by a::b
              --                         ----------         by a: the rest

So a session that has been found is skipped from then on: a look-up costs as much as
there are sessions, however many ids find each.
"""

from __future__ import annotations

from bisect import bisect_left, insort
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

    def found_by(self, owner: bytes, asked: Iterable[str]) -> list[str]:
        """Return the ids that were asked for, and those that begin with one and ``::``.

        They are returned in the order asked, each once. An empty id finds nothing,
        because no session has one.
        """
        ids = self._ids.get(owner, [])
        found: list[str] = []
        taken = bytearray(len(ids))

        def take(first: int, end: int) -> None:
            # Both searches are memchr: even five hundred nested ranges over all ids
            # cost less than to describe some of the sessions.
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
