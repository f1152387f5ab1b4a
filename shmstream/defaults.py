"""What a deployment's settings are if nobody sets them."""

from __future__ import annotations

from typing import Final

CAPACITY_BYTES: Final = 4 << 20
"""Of a session's ring, as in llama.cpp: some 9,000 tokens of its web UI's events."""

TTL_S: Final = 300.0
"""How long an ended session is kept, as llama.cpp's server keeps it."""

GC_INTERVAL_S: Final = 60.0
"""Between two collections of expired sessions."""

MAX_SESSIONS: Final = 4096
"""At one time."""

OWNER_SHARE: Final = 0.5
"""The part of the limits that one owner may have while there are several owners."""
