"""The reader in another process for the tests of costs."""

from __future__ import annotations

from shmstream import Streams
from tests.support.child import say

LAST = b'data: the last event\n\n'


def follow_to_the_end(directory: str) -> None:
    """Follow the stream ``c`` in a thread; say how many bytes it had."""
    with Streams.attach(directory) as streams:
        streams.connect()
        say('following')
        total = sum(len(data) for data in streams.open('c').follow())
        say(total)
