"""The lines about streams in a log, as a test looks for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shmstream import Streams
from tests.support.leaks import wait_until

Line = dict[str, Any]


def objects(text: str) -> list[Line]:
    """Every line of a log, each of which has to be one JSON object."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(each, dict) for each in found)
    return found


def lives(text: str) -> list[Line]:
    """The lines about streams."""
    return [line for line in objects(text) if line['logger'] == 'shmstream.streams']


def written(log: Path) -> str:
    """A log's whole lines so far: the last one may be half written."""
    text = log.read_text()
    return text[: text.rfind('\n') + 1]


def until_followed(directory: Path, conv_id: str, count: int) -> None:
    """Wait until a stream has so many followers.

    A reader has its first bytes before it is one.
    """
    with Streams.attach(directory) as streams:

        def there() -> bool:
            (found,) = streams.list(conv_id=conv_id)
            return bool(found['followers'] == count)

        assert wait_until(there)


def life(text: Callable[[], str], **fields: Any) -> Line:
    """Wait for the one line that has these fields."""
    found: list[Line] = []

    def there() -> bool:
        found[:] = [line for line in lives(text()) if fields.items() <= line.items()]
        return bool(found)

    assert wait_until(there), text()
    assert len(found) == 1, found
    return found[0]
