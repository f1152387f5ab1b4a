"""The ids of all sessions, each owner's in order.

All ids that begin with ``a::`` stand side by side then, and a look-up cuts them out. An
id costs one place in one list, whatever it is made of: an entry for every ``::`` in it
would be five hundred for an id of colons.

One client chooses both what there is and what is asked for, ten thousand ids at once,
and ids that begin with each other find the same again and again::

    asked     a::b    a    a    a::c
    ids       a  a::b  a::b::1  a::b::2  a::c  a::d  b
    found         ------------------                        a::b
              --                         ----------         a, what is left of it

So a place that has been found is passed over: what all of them find costs as much as
there is, however often and by however many ids it is found.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from shmstream.ids import MODEL_SEPARATOR

_BEYOND = MODEL_SEPARATOR[:-1] + chr(ord(MODEL_SEPARATOR[-1]) + 1)
"""What comes next, in order, after all that begins with the separator."""


class Names:
    """Finds ids by what they begin with."""

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

        In the order asked, none twice. Nothing is found by an empty id: no session has
        one.
        """
        ids = self._ids.get(owner, [])
        found: list[str] = []
        taken = bytearray(len(ids))

        def take(first: int, end: int) -> None:
            # Both searches are memchr: half a thousand nested ranges of everything that
            # there is cost less than to describe a part of it.
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
