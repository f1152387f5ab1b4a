"""What a check has found: one line of what is, and one line of what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Result(enum.StrEnum):
    """How a check went."""

    OK = 'ok'
    NOTE = 'note'
    """It works, and the operator should know something about it."""
    BITES = 'will bite'
    """It does not work, or stops working once there is load."""
    UNKNOWN = 'could not look'


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        result: how it went.
        what: what is, in one line.
        do: what to do about it, in one line; '' if there is nothing to do.
        check: the name of the check; filled in by who ran it.

    Example::

        finding = Finding(Result.NOTE, 'it is small', 'make it larger', 'memory')
        assert finding.line == 'memory: note: it is small: make it larger'
    """

    result: Result
    what: str
    do: str = ''
    check: str = ''

    @property
    def line(self) -> str:
        """All of it in one line, for a log."""
        text = f'{self.check}: {self.result}: {self.what}'
        return f'{text}: {self.do}' if self.do else text


def ok(what: str) -> Finding:
    """Nothing is wrong."""
    return Finding(Result.OK, what)


def note(what: str, do: str = '') -> Finding:
    """It works, and the operator should know this."""
    return Finding(Result.NOTE, what, do)


def bites(what: str, do: str) -> Finding:
    """It will stop the deployment, or a part of it, from working."""
    return Finding(Result.BITES, what, do)


def unknown(what: str, do: str = '') -> Finding:
    """The check could not look, which says nothing about what it looks at."""
    return Finding(Result.UNKNOWN, what, do)
