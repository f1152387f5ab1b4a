"""How long to wait before the next attempt, and when to give up."""

from __future__ import annotations

import random
import time

FIRST_S = 0.1
"""The pause after the first failure, at most. A worker that leaves cuts all its readers
at once, so each of them waits for another part of it."""

MOST_S = 5.0
"""The longest pause, unless the server asks for a longer one."""

STEADY_S = 5.0
"""An answer that lasted for so long was none of a series of failures, even if the
stream was silent for all that time."""


class Backoff:
    """Doubles the pause from failure to failure, with jitter.

    Args:
        patience_s: seconds of nothing but failures after which it gives up.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._failures = 0
        self._since: float | None = None
        self._answered_at: float | None = None

    def answered(self) -> None:
        """Note that an answer has begun."""
        self._answered_at = time.monotonic()

    def progress(self) -> None:
        """Note that something new has arrived: the failures before are over."""
        self._failures, self._since = 0, None

    def failed(self, retry_after_s: float = 0.0) -> float | None:
        """Return the seconds to wait; None if it is time to give up.

        Args:
            retry_after_s: the seconds that the server has asked for.
        """
        now = time.monotonic()
        answered_at, self._answered_at = self._answered_at, None
        if answered_at is not None and now - answered_at >= STEADY_S:
            self.progress()
        if self._since is None:
            self._since = now
        # Bounded, because the power grows without end.
        pause = min(MOST_S, FIRST_S * (1 << min(self._failures, 16)))
        self._failures += 1
        wait_s = max(pause * (0.5 + random.random() / 2), retry_after_s)
        if now + wait_s - self._since > self._patience_s:
            # The next step of the iteration begins anew.
            self.progress()
            return None
        return wait_s
