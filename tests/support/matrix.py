"""Tests that run again under other servers, workers or frameworks.

A default run has each such test under a few of them, because a server takes seconds to
start. ``pytest -m matrix`` has the others, and ``.ci/run`` runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def matrix(names: Iterable[str], *always: str) -> list[Any]:
    """Return parameters, of which those that are not ``always`` are marked.

    Args:
        names: all parameters.
        always: those that a default run has.
    """
    every = list(names)
    assert set(always) <= set(every)
    return [
        pytest.param(name, marks=() if name in always else pytest.mark.matrix)
        for name in every
    ]
