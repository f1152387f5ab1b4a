"""Calling back without keeping alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec('P')
T = TypeVar('T')


def weakly(method: Callable[P, T], gone: T) -> Callable[P, T]:
    """Return what calls the method without keeping its object; ``gone`` without it.

    The parts of ``ThisProcess`` call it back. Without a cycle it goes with the last
    that holds it, and its descriptors with it, whether or not garbage is collected.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = reference()
        return gone if bound is None else bound(*args, **kwargs)

    return call
