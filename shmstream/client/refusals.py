"""Answers that are errors, and the request whose only answers are errors or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shmstream.client.backoff import Backoff
from shmstream.client.errors import Refused, Unreachable
from shmstream.client.exchange import Asked

AGAIN = frozenset({408, 425, 429, 502, 503, 504})
"""What may be gone at the next attempt. A proxy says 502 and 504 while a service is
being restarted."""


def error_in(body: bytes) -> dict[str, Any]:
    """Return the error object of an answer; empty if there is none."""
    try:
        found = json.loads(body)['error']
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}


def seconds_of(retry_after: str) -> float:
    """Return the seconds of a ``Retry-After``; a date is not looked at."""
    plain = retry_after.isascii() and retry_after.isdigit()
    return float(retry_after) if plain else 0.0


class Stop:
    """Stops a stream, in as many attempts as it takes.

    Args:
        asked: the request. It names the generation, so that it may come late.
        patience_s: see ``Backoff``.
    """

    def __init__(self, asked: Asked, patience_s: float) -> None:
        self.asked = asked
        self._backoff = Backoff(patience_s)

    def answered(self, status: int, headers: Mapping[str, str], body: bytes) -> float:
        """Take an answer; return the seconds to wait, 0 if the stream is stopped.

        Raises:
            Refused: it is an error.
            Unreachable: it is time to give up.
        """
        if 200 <= status < 300:
            return 0.0
        refusal = Refused(status, str(error_in(body).get('message') or ''), body)
        if status not in AGAIN:
            raise refusal
        return self.failed(refusal, seconds_of(headers.get('retry-after', '')))

    def failed(self, error: Exception, retry_after_s: float = 0.0) -> float:
        """Take that no answer came; return the seconds to wait.

        Raises:
            Unreachable: it is time to give up.
        """
        wait_s = self._backoff.failed(retry_after_s)
        if wait_s is None:
            raise Unreachable(0, f'not stopped: {error}') from error
        return wait_s
