"""What a deployment's settings are if nobody sets them."""

from __future__ import annotations

from typing import Final

CAPACITY_BYTES: Final = 4 << 20
"""The size of a session's ring, as in llama.cpp. It holds some 9,000 tokens, as events
of llama.cpp's web UI."""

TTL_S: Final = 300.0
"""How long an ended session is kept; llama.cpp's server keeps it as long."""

GC_INTERVAL_S: Final = 60.0
"""Seconds between two collections of expired sessions."""

MAX_SESSIONS: Final = 4096
"""The number of sessions that may exist at one time."""

OWNER_SHARE: Final = 0.5
"""The part of the limits that one owner may have while there are several owners."""
