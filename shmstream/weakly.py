"""Callbacks that do not keep their object alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec('P')
T = TypeVar('T')


def weakly(method: Callable[P, T], gone: T) -> Callable[P, T]:
    """Return a function that calls the method, but does not keep its object alive.

    Once the object is gone, the function returns ``gone``. The parts of ``ThisProcess``
    call it back through this: with no reference cycle, the object and its descriptors
    go with the last reference, and need no garbage collection.
    """
    reference = weakref.WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        bound = reference()
        return gone if bound is None else bound(*args, **kwargs)

    return call
