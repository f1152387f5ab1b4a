"""``shmstream serve``: becomes gunicorn, with the configuration of the service."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from shmstream.cli.options import KEY_VARIABLE
from shmstream.cli.outcome import NO_DEPLOYMENT, USAGE, Failure
from shmstream.cli.output import note
from shmstream.errors import SettingsError
from shmstream.settings import PREFIX, Settings

CONFIGURATION: Final = 'python:shmstream.deploy.service_conf'

SETTINGS: Final = (
    ('upstream', 'URL', 'The server that answers. Default: a built-in demo model.'),
    ('dir', 'DIR', 'Runtime directory.'),
    ('max_memory', 'SIZE', 'Memory of all streams, such as 2GiB.'),
    ('max_sessions', 'N', 'Number of streams that may exist at one time.'),
    ('session_bytes', 'SIZE', 'Size of the ring of each stream, such as 4MiB.'),
    ('session_ttl', 'SECONDS', 'How long an ended stream is kept.'),
    ('api_keys_file', 'FILE', 'File with API keys, one per line.'),
    ('drain', 'SECONDS', 'How long answers go on through a reload or a stop.'),
    ('on_disconnect', 'WHAT', 'If nobody listens: continue, cancel, grace=SECONDS.'),
    ('chat', 'PATHS', "The paths to which the AI SDK's useChat posts."),
    ('id_from', 'PLACES', 'Where a request has its conversation id.'),
    ('cors_origins', 'ORIGINS', 'Origins whose pages may use the service.'),
    ('hosts', 'NAMES', 'Host names that are served.'),
)
"""The settings that are options too: the field, what it takes, and the help. Keys are
none of them, because every user of the machine sees the arguments of a process."""


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, takes, text in reversed(SETTINGS):
        option = f'--{name.replace("_", "-")}'
        text = f'{text} [${PREFIX}{name.upper()}]'
        command = click.option(option, name, metavar=takes, help=text)(command)
    return command


@click.command(
    epilog='All other settings are SHMSTREAM_* variables of the environment.'
)
@click.option(
    '-b',
    '--bind',
    metavar='ADDRESS',
    multiple=True,
    help='HOST:PORT or unix:PATH to listen at; may be given several times.'
    ' Default: 127.0.0.1:8000.',
)
@click.option(
    '-w',
    '--workers',
    metavar='N',
    type=click.IntRange(1),
    help='Worker processes. Default: one for each CPU, and at least two.',
)
@_with_settings
@click.argument('gunicorn', metavar='[-- GUNICORN-OPTION...]', nargs=-1)
def command(
    bind: tuple[str, ...],
    workers: int | None,
    gunicorn: tuple[str, ...],
    **settings: str | None,
) -> None:
    """Run the service, under gunicorn.

    The process becomes gunicorn: signals are gunicorn's (TERM stops, HUP reloads), and
    it can be process 1 of a container. Options win over environment variables. What
    follows -- goes to gunicorn as it is, and wins over all.
    """
    if gunicorn and not gunicorn[0].startswith('-'):
        raise Failure(f'unexpected argument {gunicorn[0]!r}', USAGE)
    environ = environment(os.environ, settings)
    try:
        checked = Settings.from_environment(environ)
    except SettingsError as ex:
        raise Failure(_as_option(str(ex), settings), USAGE) from None
    for line in quick_check(checked, environ):
        note(line)
    arguments = ['-c', CONFIGURATION]
    for address in bind:
        arguments += ['--bind', address]
    if workers is not None:
        arguments += ['--workers', str(workers)]
    become_gunicorn([*arguments, *gunicorn], environ)


def environment(
    environ: Mapping[str, str], settings: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the environment of the service.

    Args:
        environ: the present one. The key of the command line is no setting of the
            service, and is left out.
        settings: the values of options, by the names of the fields.
    """
    found = {name: text for name, text in environ.items() if name != KEY_VARIABLE}
    for name, text in settings.items():
        if text is not None:
            found[PREFIX + name.upper()] = text
    directory = settings.get('dir')
    if directory:
        # Any path will do here: it is made absolute before other processes see it.
        found[f'{PREFIX}DIR'] = os.path.abspath(directory)
    return found


def _as_option(line: str, settings: Mapping[str, str | None]) -> str:
    """Name an option, and not its variable, if the value came from an option."""
    for name, text in settings.items():
        variable = PREFIX + name.upper()
        if text is not None and line.startswith(f'{variable}:'):
            return f'--{name.replace("_", "-")}{line.removeprefix(variable)}'
    return line


def quick_check(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return what a quick look before the start has found, a line for each.

    Args:
        settings: the settings of the service.
        environ: its environment, with what the options have set.
    """
    # Imported here: ``--help`` does without.
    from shmstream.doctor import quick

    return [finding.line for finding in quick(settings, environ=environ)]


def become_gunicorn(arguments: list[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by gunicorn.

    gunicorn's own script is run, and not ``-m gunicorn``, because gunicorn runs again
    what was run when it upgrades itself (USR2).

    Raises:
        Failure: gunicorn is not installed beside this package, or cannot be run.
    """
    script = gunicorn_script()
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, [sys.executable, script, *arguments], dict(environ))
    except OSError as ex:
        raise Failure(
            f'cannot run {script} with {sys.executable}: {ex.strerror}', NO_DEPLOYMENT
        ) from ex


def gunicorn_script() -> str:
    """Return the path of the script of the gunicorn that this Python imports.

    Raises:
        Failure: there is none.
    """
    try:
        files = metadata.files('gunicorn') or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == 'gunicorn' and file.parent.name in ('bin', 'Scripts'):
            found = os.path.abspath(str(file.locate()))
            if os.path.isfile(found):
                return found
    # A package of a distribution lists no scripts.
    beside = Path(sys.executable).parent / 'gunicorn'
    if beside.is_file():
        return str(beside)
    raise Failure(
        f'gunicorn has no script beside {sys.executable}; install gunicorn there, or'
        f' run gunicorn -c {CONFIGURATION} yourself',
        NO_DEPLOYMENT,
    )
