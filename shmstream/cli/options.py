"""The options that commands share, and the place that they name."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from shmstream.cli.outcome import USAGE, Failure
from shmstream.cli.place import Place
from shmstream.memory.directory import (
    RuntimeDirectory,
    default_directory,
    directory_from_environment,
)

Function = TypeVar('Function', bound=Callable[..., Any])

KEY_VARIABLE = 'SHMSTREAM_KEY'
_KEY = re.compile(r'[\x21-\x7e]{1,4096}')

json_option = click.option(
    '--json', 'as_json', is_flag=True, help='Write JSON, with the documented fields.'
)

directory_option = click.option(
    '--dir',
    'directory',
    metavar='DIR',
    help=f'Runtime directory. Default: $SHMSTREAM_DIR, or {default_directory()}.',
)


def place_options(function: Function) -> Function:
    """Add the options that name a place, and pass the ``place`` to the command."""

    @functools.wraps(function)
    def with_place(
        directory: str | None,
        url: str | None,
        key: str | None,
        key_file: str | None,
        **arguments: Any,
    ) -> Any:
        place = place_of(directory, url, key, key_file)
        return function(place=place, **arguments)

    options = (
        directory_option,
        click.option(
            '--url', metavar='URL', help='Ask this service instead, with a key.'
        ),
        click.option(
            '--key',
            metavar='KEY',
            help='API key, with --url. Every user of this machine can see it in ps;'
            f' --key-file and ${KEY_VARIABLE} are not seen there.',
        ),
        click.option(
            '--key-file',
            metavar='FILE',
            help='File with the API key, with --url: its first line with text.',
        ),
    )
    decorated: Any = with_place
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def directory_of(text: str | None) -> RuntimeDirectory:
    """Return the runtime directory that ``--dir`` names, or the default.

    Raises:
        SettingsError: ``$SHMSTREAM_DIR`` is used and is not an absolute path.
    """
    # A relative path is no trap here, because no other process has to find it.
    path = directory_from_environment() if text is None else Path(text).absolute()
    return RuntimeDirectory(path)


def place_of(
    directory: str | None, url: str | None, key: str | None, key_file: str | None
) -> Place:
    """Return the place that these options name.

    Raises:
        Failure: they contradict each other, or there is no such key file.
    """
    if url is None:
        if key is not None or key_file is not None:
            raise Failure('--key and --key-file need --url', USAGE)
        from shmstream.cli.on_directory import OnDirectory

        return OnDirectory(directory_of(directory))
    if directory is not None:
        raise Failure('--dir, --url: only one of them', USAGE)
    from shmstream.cli.on_url import OnUrl

    return OnUrl(url, _key(key, key_file))


def _key(key: str | None, key_file: str | None) -> str | None:
    if key is not None and key_file is not None:
        raise Failure('--key, --key-file: only one of them', USAGE)
    where = '--key'
    if key_file is not None:
        where, key = '--key-file', _first_line(key_file)
    elif key is None:
        where, key = KEY_VARIABLE, os.environ.get(KEY_VARIABLE, '').strip() or None
    if key is not None and not _KEY.fullmatch(key):
        raise Failure(f'{where}: must be printable ASCII without spaces', USAGE)
    return key


def _first_line(path: str) -> str:
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read(65536)
    except (OSError, UnicodeDecodeError):
        raise Failure(f'--key-file: cannot be read: {path!r}', USAGE) from None
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith('#'):
            return line
    raise Failure(f'--key-file: {path!r} holds no key', USAGE)
