"""Every order in which two processors may run a few stores, fences and loads.

What x86 allows (x86-TSO): each processor has a buffer of stores that drains to memory
one by one, in order, at any later moment; its loads look into the buffer first, and
then into memory; a fence waits until the buffer is empty::

    processor 0 --store--> [ buffer ] --at any moment--> +--------+
                 --load------------------------------->  | memory |
    processor 1 --store--> [ buffer ] --at any moment--> +--------+

All orders are tried, so what comes out depends on no processor, and on no luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

Step = tuple[str, str]
"""``('store', word)``, ``('load', word)`` or ``('fence', '')``."""

Program = Sequence[Step]

_T = TypeVar('_T')

Seen = frozenset[str]
"""The words of which a program's *first* load saw what the other one stores."""


class _State(NamedTuple):
    at: tuple[int, int]
    buffers: tuple[tuple[str, ...], tuple[str, ...]]
    memory: frozenset[str]
    loaded: tuple[Seen, Seen]
    seen: tuple[Seen, Seen]


def outcomes(one: Program, two: Program) -> set[tuple[Seen, Seen]]:
    """Return what the two may have seen at their ends, in all orders there are.

    A word counts as stored by its first store: what matters is whether it was seen.
    """
    programs = (tuple(one), tuple(two))
    empty: Seen = frozenset()
    first = _State((0, 0), ((), ()), empty, (empty, empty), (empty, empty))
    known, waiting = {first}, [first]
    found = set()
    while waiting:
        state = waiting.pop()
        if state.at == (len(programs[0]), len(programs[1])):
            found.add(state.seen)
        for following in _next(programs, state):
            if following not in known:
                known.add(following)
                waiting.append(following)
    return found


def _next(programs: tuple[Program, Program], state: _State) -> Iterator[_State]:
    for side in range(2):
        buffer = state.buffers[side]
        if buffer:
            yield state._replace(
                buffers=_put(state.buffers, side, buffer[1:]),
                memory=state.memory | {buffer[0]},
            )
        if state.at[side] == len(programs[side]):
            continue
        kind, word = programs[side][state.at[side]]
        moved = state._replace(at=_put(state.at, side, state.at[side] + 1))
        if kind == 'store':
            buffers = _put(state.buffers, side, (*buffer, word))
            yield moved._replace(buffers=buffers)
        elif kind == 'load':
            yield _load(moved, side, word)
        elif not buffer:
            yield moved


def _load(state: _State, side: int, word: str) -> _State:
    if word in state.loaded[side]:
        return state
    there = word in state.memory or word in state.buffers[side]
    seen = state.seen[side] | ({word} if there else set())
    return state._replace(
        loaded=_put(state.loaded, side, state.loaded[side] | {word}),
        seen=_put(state.seen, side, seen),
    )


def _put(pair: tuple[_T, _T], side: int, value: _T) -> tuple[_T, _T]:
    return (value, pair[1]) if side == 0 else (pair[0], value)
