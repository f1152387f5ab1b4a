"""``python -m shmstream``: the same as the command ``shmstream``."""

from shmstream.cli.main import main

main(prog_name='shmstream')
