"""How a command ends: its exit code, and the line that says why.

The table is the same in ``--help`` and in ``docs/operations/command-line.md``.
"""

from __future__ import annotations

from typing import IO, Any, Final

import click

from shmstream.cli.words import safe

OK: Final = 0
NOT_DONE: Final = 1
USAGE: Final = 2
NO_DEPLOYMENT: Final = 3
REFUSED: Final = 4
STOPPED: Final = 5
FAILED: Final = 6
GONE: Final = 7
LOST: Final = 8
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

TABLE: Final = (
    (OK, 'done'),
    (NOT_DONE, 'no such stream, or not all was done; doctor: something will bite'),
    (USAGE, 'the command line or a setting is wrong'),
    (NO_DEPLOYMENT, 'there is no deployment, or it does not answer'),
    (REFUSED, 'refused: the key, another version, a directory of somebody else'),
    (STOPPED, 'tail: the stream was stopped'),
    (FAILED, 'tail: the stream failed'),
    (GONE, 'tail: the stream was replaced or removed before its end'),
    (LOST, 'tail: the stream is complete, but the ring had dropped some of it'),
    (INTERRUPTED, 'interrupted by Ctrl-C'),
    (BROKEN_PIPE, 'nobody reads the output any more'),
)


class Failure(click.ClickException):
    """Ends the command with an exit code, and one line on stderr.

    Args:
        message: the line, which may hold what a client or a service has chosen; empty:
            nothing is shown.
        code: the exit code.
    """

    def __init__(self, message: str, code: int = NOT_DONE) -> None:
        super().__init__(message)
        # An attribute of the object hides that of click's class.
        vars(self)['exit_code'] = code

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line to stderr."""
        if self.message:
            line = f'shmstream: {safe(self.message)}'
            click.echo(line, file=file, err=file is None)


def help_text() -> str:
    """Return the table of exit codes, for the help."""
    rows = '\n'.join(f'  {code:>3}  {meaning}' for code, meaning in TABLE)
    return f'\b\nExit codes:\n{rows}'
