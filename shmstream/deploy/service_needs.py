"""What the service needs of other packages, beyond what the library needs of them.

``pyproject.toml`` asks for what the library needs, so that it installs beside the
versions that an application pins. The service checks the rest when it starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata

APPLICATION = 'shmstream.http.app'
"""The module of the service's application."""

UPSTREAM = 'shmstream.upstream.connections'
"""The module that asks an upstream. It takes long to import, because of aiohttp."""

NEEDS = {
    # The ASGI worker; that of older versions holds back the headers of a quiet stream
    # (before 26), and an upstream does not get all requests as they were sent.
    'gunicorn': '27.0.1',
    # For an upstream: middlewares of a request (3.12), and a parser that refuses what
    # is no HTTP (3.13.5). All tests have run with this version.
    'aiohttp': '3.14.0',
}
"""The lowest versions with which the service is known to work."""


def needed(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the packages that the service uses under gunicorn, by its environment."""
    upstream = environ.get('SHMSTREAM_UPSTREAM', '').strip()
    return ('gunicorn', 'aiohttp') if upstream else ('gunicorn',)


def used_modules(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the modules that each worker of the service uses, by its environment."""
    upstream = environ.get('SHMSTREAM_UPSTREAM', '').strip()
    ours = ('uvloop', APPLICATION)
    return (*ours, UPSTREAM) if upstream else ours


def unmet(
    packages: Iterable[str],
    installed: Callable[[str], str] = metadata.version,
) -> str | None:
    """Return the line that says what the service needs and has not; None: it has all.

    Args:
        packages: those that it uses.
        installed: returns the version of a package that is installed, or raises
            ``PackageNotFoundError``.
    """
    lacking, found = [], []
    for name in packages:
        try:
            version = installed(name)
        except metadata.PackageNotFoundError:
            lacking.append(f'{name}>={NEEDS[name]}')
            found.append(f'no {name}')
            continue
        if _numbers(version) < _numbers(NEEDS[name]):
            lacking.append(f'{name}>={NEEDS[name]}')
            found.append(f'{name} {version}')
    if not lacking:
        return None
    return (
        f'the service needs {" and ".join(lacking)}, and {" and ".join(found)} is'
        ' installed; the library works with it, in an application of your own'
    )


def is_service(app: object) -> bool:
    """Whether this is the service, as gunicorn's setting ``wsgi_app`` names it."""
    return isinstance(app, str) and app.partition(':')[0] == APPLICATION


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r'\d+', version)[:3]]
