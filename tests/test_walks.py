"""What docs/walks.md names is there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

WALKS = Path(__file__).parents[1] / 'docs' / 'walks.md'
NAMES = sorted(set(re.findall(r'`([a-z_]+(?:\.\w+)+)`', WALKS.read_text())))


def find(name: str) -> object:
    """What has this name below the package."""
    parts = name.split('.')
    found: object = importlib.import_module('shmstream')
    for number, part in enumerate(parts):
        if not hasattr(found, part):
            importlib.import_module('.'.join(['shmstream', *parts[: number + 1]]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize('name', NAMES)
def test_what_the_walks_name_is_there(name: str) -> None:
    assert find(name) is not None


def test_the_walks_name_something() -> None:
    assert len(NAMES) > 30


@pytest.mark.parametrize('name', ['producer.Producer.wrote', 'wakeups.bells'])
def test_what_is_not_there_is_not_found(name: str) -> None:
    with pytest.raises((ImportError, AttributeError)):
        find(name)
