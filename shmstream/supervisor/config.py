"""What a supervisor has to know, and hands on to its successor."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from shmstream.errors import SettingsError

DEFAULT_CAPACITY = 4 << 20
"""llama.cpp's ring: some 9,000 tokens of its web UI's verbose events."""


@dataclass(frozen=True)
class SupervisorConfig:
    """Limits and times.

    Attributes:
        capacity: bytes of a session's ring, unless its creator says otherwise.
        ttl_s: seconds that a finished session is kept, from its completion.
        gc_interval_s: seconds between two collections.
        max_sessions: sessions at one time.
        max_memory: bytes that all segments may take; 0: half of what the file system
            has free when the supervisor starts.
        owner_share: what one owner may have of both while there are several, 0 to 1
            (``supervisor.shares``).
        several_owners: reckon with several from the start; else from when there are.
    """

    capacity: int = DEFAULT_CAPACITY
    ttl_s: float = 300.0
    gc_interval_s: float = 60.0
    max_sessions: int = 4096
    max_memory: int = 0
    owner_share: float = 0.5
    several_owners: bool = False

    def save(self, path: Path) -> None:
        """Write it where a successor finds it."""
        aside = path.with_suffix('.new')
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, 'w', encoding='utf-8') as file:
            json.dump(asdict(self), file)
        os.rename(aside, path)

    @classmethod
    def load(cls, path: Path) -> SupervisorConfig:
        """Read what a predecessor saved; the defaults if none did.

        Raises:
            SettingsError: the file is damaged.
        """
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
            return cls(**found)
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError) as ex:
            raise SettingsError(f'{path} is damaged: {ex}') from ex
