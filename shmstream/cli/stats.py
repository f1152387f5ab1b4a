"""``shmstream stats``: the numbers of a deployment, as the metrics have them."""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Final

import click

from shmstream.errors import (
    DirectoryRefused,
    LayoutMismatch,
    SettingsError,
    SupervisorUnavailable,
)
from shmstream.memory.directory import directory_from_environment
from shmstream.metrics import exposition, human
from shmstream.metrics.reading import Reading, read

NO_DEPLOYMENT: Final = 3
REFUSED: Final = 4

_TIMEOUT_S = 10.0
_MOST_BYTES = 4 << 20
"""More than the metrics of any deployment."""

_MOST_KEY_BYTES = 4096

FORMATS = ('table', 'json', 'openmetrics', 'prometheus')


class Failure(click.ClickException):
    """Ends the command with one line on stderr, and an exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        # An attribute of the object hides that of click's class.
        vars(self)['exit_code'] = code


@click.command('stats')
@click.option(
    '--dir',
    'directory',
    type=click.Path(path_type=Path),
    help='The runtime directory; by default $SHMSTREAM_DIR, or the one of this user.',
)
@click.option('--url', help='Ask a service instead, by its address.')
@click.option('--key', help="The service's key; $SHMSTREAM_KEY keeps it out of ps.")
@click.option(
    '--key-file',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='A file with the key.',
)
@click.option('--json', 'as_json', is_flag=True, help='The same as --format json.')
@click.option('--format', 'kind', type=click.Choice(FORMATS), default='table')
def command(
    directory: Path | None,
    url: str | None,
    key: str | None,
    key_file: Path | None,
    as_json: bool,
    kind: str,
) -> None:
    r"""Show what a deployment has counted, and what is there now.

    Reads the runtime directory, and asks no process: it works when the supervisor is
    down, and says so. With --url it asks a service over HTTP.

    \b
    Exit codes:
      0  done
      2  the command line is wrong
      3  there is no deployment, or it does not answer
      4  refused: the key, another version, a directory of somebody else
    """
    if url is not None and directory is not None:
        raise click.UsageError('give either --dir or --url')
    if url is None:
        reading = _of_directory(directory)
    else:
        reading = _of_service(url, _key(key, key_file))
    match 'json' if as_json else kind:
        case 'json':
            text = exposition.to_json(reading).decode()
        case 'openmetrics':
            text = exposition.openmetrics(reading).decode().rstrip('\n')
        case 'prometheus':
            text = exposition.prometheus(reading).decode().rstrip('\n')
        case _:
            text = '\n'.join(human.table(reading))
    click.echo(text)


def _of_directory(directory: Path | None) -> Reading:
    try:
        where = directory_from_environment() if directory is None else directory
        return read(where.absolute())
    except SettingsError as ex:
        raise click.UsageError(str(ex)) from ex
    except (SupervisorUnavailable, OSError) as ex:
        raise Failure(str(ex), NO_DEPLOYMENT) from ex
    except DirectoryRefused as ex:
        there = directory is not None and directory.exists()
        raise Failure(str(ex), REFUSED if there else NO_DEPLOYMENT) from ex
    except LayoutMismatch as ex:
        raise Failure(str(ex), REFUSED) from ex


def _key(key: str | None, key_file: Path | None) -> str | None:
    if key_file is not None:
        if key is not None:
            raise click.UsageError('give either --key or --key-file')
        with key_file.open('rb') as file:
            key = file.read(_MOST_KEY_BYTES).decode('latin-1').strip()
    key = key or os.environ.get('SHMSTREAM_KEY') or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise click.UsageError('a key has printable ASCII characters only')
    return key


def _of_service(url: str, key: str | None) -> Reading:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ('http', 'https') or not parts.hostname:
        raise click.UsageError(f'--url: not the address of a service: {url}')
    asked = urllib.request.Request(
        f'{url.rstrip("/")}/_shmstream/metrics', headers={'Accept': 'application/json'}
    )
    if key is not None:
        # A redirection must not take the key elsewhere.
        asked.add_unredirected_header('Authorization', f'Bearer {key}')
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT_S) as answer:
            return exposition.from_json(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as ex:
        with ex:
            if ex.code in (401, 403, 421):
                raise Failure(f'{url}: refused: {ex.code} {ex.reason}', REFUSED) from ex
            text = f'{url}: no metrics: {ex.code} {ex.reason}'
        raise Failure(text, NO_DEPLOYMENT) from ex
    except (OSError, ValueError) as ex:
        raise Failure(f'{url}: {getattr(ex, "reason", ex)}', NO_DEPLOYMENT) from ex
