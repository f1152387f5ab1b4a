"""The command ``shmstream``, and where its subcommands are."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from shmstream.cli import outcome
from shmstream.cli.outcome import Failure
from shmstream.version import __version__

COMMANDS: Final[dict[str, str]] = {
    'serve': 'shmstream.cli.serve',
    'ls': 'shmstream.cli.ls',
    'show': 'shmstream.cli.show',
    'tail': 'shmstream.cli.tail',
    'stop': 'shmstream.cli.stop',
    'evict': 'shmstream.cli.evict',
    'top': 'shmstream.cli.top',
    'stats': 'shmstream.cli.stats',
    'doctor': 'shmstream.cli.doctor',
    'clean': 'shmstream.cli.clean',
    'completion': 'shmstream.cli.completion',
}
"""Each subcommand, and the module whose ``command`` it is.

Only the module of the command that is run is imported: ``ls`` needs no gunicorn.
"""


class Commands(click.Group):
    """The subcommands, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order in which the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one subcommand, None if there is none of this name."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand, and turn what ends it into an exit code."""
        if sys.stdout is None:
            # Whoever has closed it wants no output.
            sys.stdout = open(os.devnull, 'w')  # noqa: SIM115
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(outcome.BROKEN_PIPE)
        except KeyboardInterrupt:
            ctx.exit(outcome.INTERRUPTED)
        except click.Abort:
            # A question was answered with Ctrl-C or Ctrl-D.
            click.echo(err=True)
            ctx.exit(outcome.INTERRUPTED)
        except Exception as ex:
            failure = _failure(ex)
            if failure is None:
                raise
            raise failure from ex
        return result


def _failure(error: Exception) -> Failure | None:
    """Return the line and the exit code for an error of shmstream; None: it is none."""
    # Imported here: ``--version`` and ``--help`` do without.
    from shmstream import errors
    from shmstream.client.errors import Refused, Unreachable
    from shmstream.inspection.sessions import NoDeployment

    codes: tuple[tuple[type[Exception], int], ...] = (
        (NoDeployment, outcome.NO_DEPLOYMENT),
        (errors.SettingsError, outcome.USAGE),
        (errors.SupervisorUnavailable, outcome.NO_DEPLOYMENT),
        (Unreachable, outcome.NO_DEPLOYMENT),
        (errors.DirectoryRefused, outcome.REFUSED),
        (errors.LayoutMismatch, outcome.REFUSED),
        (Refused, outcome.REFUSED),
        (errors.ShmstreamError, outcome.NOT_DONE),
    )
    for kind, code in codes:
        if isinstance(error, kind):
            return Failure(str(error), code)
    if isinstance(error, OSError) and error.strerror:
        where = f'{error.filename}: ' if error.filename else ''
        return Failure(f'{where}{error.strerror}', outcome.NOT_DONE)
    return None


def _forget_stdout() -> None:
    # Otherwise Python says at its end that it cannot write what is left in the buffer.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


@click.group(
    cls=Commands,
    context_settings={'help_option_names': ['-h', '--help']},
    epilog=outcome.help_text(),
)
@click.version_option(__version__, prog_name='shmstream')
def main() -> None:
    """Resumable streams in shared memory: run them, see them, stop them.

    ls, show, tail, stop, evict, top and stats look at the runtime directory of this
    machine, and see the streams of all owners; with --url they ask a service, and see
    the streams of one key.
    """
