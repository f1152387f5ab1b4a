"""The command ``shmstream``, and where its subcommands are."""

from __future__ import annotations

import importlib
from typing import Final

import click

from shmstream.version import __version__

COMMANDS: Final[dict[str, str]] = {
    'doctor': 'shmstream.cli.doctor',
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


@click.group(cls=Commands, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(__version__, prog_name='shmstream')
def main() -> None:
    """Resumable streams in shared memory: run them, see them, stop them."""
