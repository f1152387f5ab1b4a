"""Whether a command that a page shows has the options that are written there."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
from gunicorn.config import Config
from uvicorn import main as uvicorn

from shmstream.cli.main import main as shmstream
from tests.support.service import ROOT

_ASSIGNED = re.compile(r'[A-Za-z_]\w*=')
_BETWEEN = {'&&', '||', '|', ';', '&', '(', ')'}
_EXTRAS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project'][
    'optional-dependencies'
]


def commands(code: str) -> list[list[str]]:
    """Return the commands of a shell block, each with its arguments."""
    found: list[list[str]] = []
    for line in code.replace('\\\n', ' ').splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for token in [*lexer, ';']:
            if token in _BETWEEN:
                found.append(command)
                command = []
            elif command or not _ASSIGNED.match(token):
                command.append(token)
    return [command for command in found if command]


def wrong(command: Sequence[str]) -> str:
    """Return what is wrong with a command; empty if nothing is known to be.

    Commands of other projects count as right, but for gunicorn, uvicorn and pip.
    """
    program, *arguments = command
    match program.removeprefix('.venv/bin/').removeprefix('.venv-bench/bin/'):
        case 'python' | 'python3' if arguments[:1] == ['-m']:
            return _of_module(arguments[1], arguments[2:])
        case 'pip':
            return _of_pip(arguments)
        case 'gunicorn':
            return _of_gunicorn(arguments)
        case 'uvicorn':
            return _of_click(uvicorn, arguments)
        case 'shmstream':
            return _of_click(shmstream, arguments)
        case 'pytest':
            paths = [each.partition('::')[0] for each in arguments if '/' in each]
        case 'sh' | 'bash':
            paths = [each for each in arguments[:1] if not each.startswith('-')]
        case _:
            paths = [program] if program.startswith(('.ci/', './')) else []
    return ', '.join(f'no {path}' for path in paths if not (ROOT / path).exists())


def _of_module(module: str, arguments: Sequence[str]) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return f'no module {module}'
    main = Path(spec.origin).with_name('__main__.py')
    if spec.submodule_search_locations is None or ROOT not in main.parents:
        return ''
    text = main.read_text()
    options = [each.partition('=')[0] for each in arguments if each.startswith('--')]
    return ', '.join(f'no {each}' for each in options if f"'{each}'" not in text)


def _of_pip(arguments: Sequence[str]) -> str:
    asked = re.findall(r'(?:\.|shmstream)\[([\w,]+)\]', ' '.join(arguments))
    extras = [extra for each in asked for extra in each.split(',')]
    return ', '.join(f'no extra {each}' for each in extras if each not in _EXTRAS)


def _of_gunicorn(arguments: Sequence[str]) -> str:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            Config().parser().parse_args(list(arguments))
    except SystemExit:
        return said.getvalue()
    return ''


def _of_click(command: click.Command, arguments: Sequence[str]) -> str:
    """Follow the subcommands, and see that each option is one of theirs."""
    context = click.Context(command)
    for argument in arguments:
        if argument == '--':
            # What follows is for somebody else.
            break
        name = argument.partition('=')[0]
        if name.startswith('-') and name != '-':
            options = {
                option
                for parameter in command.get_params(context)
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
            if name not in options:
                return f'{command.name} has no {name}'
        elif isinstance(command, click.Group):
            found = command.get_command(context, argument)
            if found is None:
                return f'{command.name} has no command {argument}'
            command, context = found, click.Context(found, parent=context)
    return ''
