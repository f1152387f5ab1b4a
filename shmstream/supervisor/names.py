"""The ids of all sessions, each owner's in order.

All ids that begin with ``a::`` stand side by side then, and a look-up cuts them out. An
id costs one place in one list, whatever it is made of: an entry for every ``::`` in it
would be five hundred for an id of colons.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from shmstream.ids import MODEL_SEPARATOR


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

    def found_by(self, owner: bytes, asked: str) -> list[str]:
        """Return the id that was asked for, and those that begin with it and ``::``.

        Nothing is found by an empty id: no session has one.
        """
        ids = self._ids.get(owner)
        if ids is None or not asked:
            return []
        at = bisect_left(ids, asked)
        found = [asked] if at < len(ids) and ids[at] == asked else []
        prefix = asked + MODEL_SEPARATOR
        first = end = bisect_left(ids, prefix, at)
        while end < len(ids) and ids[end].startswith(prefix):
            end += 1
        return found + ids[first:end]
