"""What was seen, and whether any of it must not be."""

from __future__ import annotations

import collections
import time
from dataclasses import dataclass, field
from pathlib import Path

BAD = ('lost', 'doubled', 'torn', 'hung', 'late', 'leaked', 'beyond', 'unexpected')
"""Kinds of problems; one of any of them fails the run."""

_SHOWN = 30


@dataclass
class Verdict:
    """Counts and problems of one run.

    Attributes:
        log: file that every problem and fault is written to as it happens.
    """

    log: Path
    bytes_checked: int = 0
    streams: int = 0
    lapped: int = 0
    faults: collections.Counter[str] = field(default_factory=collections.Counter)
    ends: collections.Counter[str] = field(default_factory=collections.Counter)
    notes: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self._file = self.log.open('w', encoding='utf-8')

    def write(self, kind: str, text: str) -> None:
        """Log a line."""
        elapsed = time.monotonic() - self.began
        clock = time.strftime('%H:%M:%S')
        self._file.write(f'{clock} {elapsed:8.3f} {kind:<11} {text}\n')
        self._file.flush()

    def close(self) -> None:
        """Close the log."""
        self._file.close()

    def problem(self, kind: str, text: str) -> None:
        """Something that must not be."""
        assert kind in BAD
        self.problems.append((kind, text))
        self.write('*' + kind, text)

    def fault(self, kind: str, text: str = '') -> None:
        """A fault has been injected."""
        self.faults[kind] += 1
        self.write('fault', f'{kind} {text}')

    def took(self, what: str, seconds: float) -> None:
        """Keep the longest that something took."""
        self.slowest[what] = max(self.slowest.get(what, 0.0), seconds)

    def at_most(self, what: str, size: float) -> None:
        """Keep the most that there was of something."""
        self.most[what] = max(self.most.get(what, 0.0), size)

    def waited(self, what: str, seconds: float, most: float, who: str) -> None:
        """Keep the longest wait; it is a problem beyond what is promised."""
        self.took(what, seconds)
        if seconds > most:
            self.problem('late', f'{what}: {seconds:.2f} s, at most {most:.2f}; {who}')

    def excused(self, what: str, seconds: float, most: float, why: str) -> None:
        """A wait was longer than is promised, for a reason that is no fault of ours."""
        self.notes['waits longer than promised, excused'] += 1
        self.write('excused', f'{what}: {seconds:.2f} s, promised {most:.2f}; {why}')

    def count(self, kind: str) -> int:
        """Problems of a kind."""
        return sum(1 for k, _ in self.problems if k == kind)

    @property
    def good(self) -> bool:
        """Whether there were no problems, and something was tried at all."""
        return not self.problems and self.bytes_checked > 0

    def table(self, seed: int) -> str:
        """The verdict, for people."""
        faults = ', '.join(f'{k} {n}' for k, n in sorted(self.faults.items()))
        rows: list[tuple[str, object]] = [
            ('seed', seed),
            ('bytes checked', f'{self.bytes_checked:,}'),
            ('streams', self.streams),
            ('faults injected', f'{self.faults.total()}: {faults}'),
        ]
        named = {
            'exact': 'exact to the end',
            'aborted': 'aborted, with the error in-band',
            'cancelled': 'cancelled or replaced',
        }
        rows += [(text, self.ends[kind]) for kind, text in named.items()]
        rows.append(('lapped by the ring, went on', self.lapped))
        rows += [(f'({k})', n) for k, n in sorted(self.ends.items()) if k not in named]
        rows += [(f'({k})', n) for k, n in sorted(self.notes.items())]
        rows += [(f'longest: {k}', f'{s:.2f} s') for k, s in self.slowest.items()]
        rows += [(f'most: {k}', f'{n:.1f}') for k, n in self.most.items()]
        rows += [(kind.upper(), self.count(kind)) for kind in BAD]
        width = max(len(name) for name, _ in rows)
        lines = [f'{name:<{width}}  {value}' for name, value in rows]
        lines.append('verdict'.ljust(width + 2) + ('good' if self.good else 'BAD'))
        for kind, text in self.problems[:_SHOWN]:
            lines.append(f'* {kind}: {text}')
        if len(self.problems) > _SHOWN:
            lines.append(
                f'* ... and {len(self.problems) - _SHOWN} more, see {self.log}'
            )
        return '\n'.join(lines)
