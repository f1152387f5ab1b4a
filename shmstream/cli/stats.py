"""``shmstream stats``: the numbers of a deployment, as the metrics have them."""

from __future__ import annotations

import click

from shmstream.cli.options import json_option, place_options
from shmstream.cli.output import write
from shmstream.cli.place import Place
from shmstream.cli.words import safe
from shmstream.metrics import exposition, human

FORMATS = ('table', 'json', 'openmetrics', 'prometheus')


@click.command()
@place_options
@json_option
@click.option(
    '--format',
    'kind',
    type=click.Choice(FORMATS),
    default='table',
    show_default=True,
    help='What to write; --json is the same as --format json.',
)
def command(place: Place, as_json: bool, kind: str) -> None:
    """Show what a deployment has counted, and what is there now.

    On a runtime directory no process is asked: it works when the supervisor is down,
    and says so. The numbers are those of all owners, also on a URL.
    """
    reading = place.reading()
    match 'json' if as_json else kind:
        case 'json':
            text = exposition.to_json(reading).decode()
        case 'openmetrics':
            text = exposition.openmetrics(reading).decode().rstrip('\n')
        case 'prometheus':
            text = exposition.prometheus(reading).decode().rstrip('\n')
        case _:
            text = '\n'.join(human.table(reading))
    write(safe(text, '\n'))
