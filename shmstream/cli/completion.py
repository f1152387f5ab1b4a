"""``shmstream completion``: the script that has a shell complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_HOW = """\b
bash: add to ~/.bashrc   eval "$(shmstream completion bash)"
zsh:  add to ~/.zshrc    eval "$(shmstream completion zsh)"
fish: run once           shmstream completion fish > FILE
      FILE is            ~/.config/fish/completions/shmstream.fish
"""


@click.command(
    epilog=_HOW, short_help='Write the script by which a shell completes this.'
)
@click.argument('shell', type=click.Choice(['bash', 'zsh', 'fish']))
def command(shell: str) -> None:
    """Write the script that has a shell complete commands, options and ids.

    Ids are completed from the runtime directory, if they are made of letters, digits
    and the characters ./:@%+=,-_ only.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    from shmstream.cli.main import main

    click.echo(kind(main, {}, 'shmstream', '_SHMSTREAM_COMPLETE').source())
