"""Time as a busy machine gives it: bounds that no load breaks.

A bound of three seconds says that nothing waits for what takes longer. On a machine
that runs this process every half second only, three seconds of the clock are six looks,
and say nothing. So time counts here as far as this process was there to see it pass:
a look that comes late counts as if it had come a little late.
"""

from __future__ import annotations

import threading
import time

LOOK_S = 0.005

_MOST_S = 0.05
"""What lies between two looks counts for this much at the most."""


class Patience:
    """Counts time from one look to the next."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.seconds = 0.0
        """As have passed so far."""

    def look(self) -> float:
        """Count what has passed since the last look; returns ``seconds``."""
        now = time.monotonic()
        self.seconds += min(now - self._last, _MOST_S)
        self._last = now
        return self.seconds


class Stopwatch:
    """Counts so in a thread of its own, for the time of a block.

    ``seconds`` is never more than what the clock says.
    """

    def __init__(self) -> None:
        self._patience = Patience()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self._patience.look()

    @property
    def seconds(self) -> float:
        """As have passed so far."""
        return self._patience.seconds

    def __enter__(self) -> Stopwatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
