"""gunicorn: its workers, its timeouts, and who can reach it."""

from __future__ import annotations

from shmstream.deploy.hooks import LEAVE_S, MAX_WORKERS
from shmstream.deploy.service_needs import is_service, needed, unmet
from shmstream.doctor.case import Case
from shmstream.doctor.finding import Finding, bites, note, ok, unknown
from shmstream.doctor.server import ServerUnknown
from shmstream.host_names import is_loopback
from shmstream.producing.drain import BEFORE_KILL

_THREADS = ('gthread', 'gevent')
_LOOPS = ('asgi', 'uvicorn.workers.UvicornWorker', 'uvicorn_worker.UvicornWorker')

MARGIN_S = 5.0
"""Seconds that whoever stops gunicorn waits on top of what gunicorn takes."""


def packages(case: Case) -> Finding:
    """Look whether the packages are new enough for the service."""
    line = unmet(needed(case.environ))
    if line is not None:
        return bites(line, "pip install -U 'gunicorn>=27.0.1' 'aiohttp>=3.14.0'")
    return ok('gunicorn and what else the service needs is new enough')


def workers(case: Case) -> Finding:
    """Look at the class and the number of the workers."""
    try:
        server = case.server
    except ServerUnknown as ex:
        return unknown(str(ex), 'name the file: shmstream doctor --config FILE')
    what = f'{server.workers} workers of class {server.worker_class}'
    if server.workers > MAX_WORKERS:
        return bites(
            f'{what}: gunicorn will not start',
            f'use {MAX_WORKERS} at the most, and more hosts',
        )
    if 'eventlet' in server.worker_class:
        return bites(f'{what}, which shmstream refuses', 'use asgi, gthread or gevent')
    if is_service(server.wsgi_app) and server.worker_class != 'asgi':
        return bites(
            f'{what}, under which the service has no reloads and drains, or none at'
            ' all',
            'set worker_class = asgi',
        )
    if server.worker_class == 'sync':
        return bites(
            f'{what}: a reader takes a whole worker',
            'use asgi, or gthread with threads',
        )
    if server.worker_class not in _THREADS + _LOOPS:
        return note(f'{what}, which nobody has tested', 'use asgi')
    return ok(what)


def timeouts(case: Case) -> Finding:
    """Compare gunicorn's timeouts with the time that answers are to have."""
    settings = case.settings
    try:
        server = case.server
    except ServerUnknown as ex:
        return unknown(str(ex), 'name the file: shmstream doctor --config FILE')
    graceful, timeout = server.graceful_timeout, server.timeout
    what = f'timeout is {timeout:g}, graceful_timeout {graceful:g}'
    if 0 < timeout <= graceful:
        return bites(
            f'{what}: a worker that waits for its answers is killed as if it hung',
            f'set timeout above graceful_timeout, such as {graceful + 20:g}',
        )
    stop = min(settings.drain, BEFORE_KILL * graceful)
    what += (
        f': at a stop answers may go on for {stop:g} s, at a reload for'
        f' {settings.drain:g} s'
    )
    do = (
        f'systemd: TimeoutStopSec={stop_within(graceful, True):g} or more;'
        f' Kubernetes: terminationGracePeriodSeconds={stop_within(graceful):g} or more'
    )
    if stop < settings.drain:
        longer = settings.drain / BEFORE_KILL
        do = f'for all {settings.drain:g} s set graceful_timeout={longer:g}; {do}'
    return note(what, do)


def stop_within(graceful_s: float, reloads: bool = False) -> float:
    """Return the seconds that a stop of gunicorn may take.

    Args:
        graceful_s: gunicorn's ``graceful_timeout``.
        reloads: whether a reload may just be under way: gunicorn hears the stop only
            once it has waited ``graceful_timeout`` for the old workers.
    """
    return graceful_s * (2 if reloads else 1) + LEAVE_S + MARGIN_S


def access(case: Case) -> Finding:
    """Look who can reach the service, and whether they need a key."""
    settings = case.settings
    running = case.running
    addresses = running.listens_at if running is not None else None
    if addresses is None:
        if isinstance(case.told, str):
            return unknown(case.told, 'name the file: shmstream doctor --config FILE')
        addresses = tuple(each for each in case.told.bind if is_tcp(each))
    wide = [each for each in addresses if not is_loopback(host_of(each))]
    shown = ', '.join(addresses) or 'no TCP address'
    if wide and not settings.api_keys:
        return bites(
            f'it listens at {", ".join(wide)} without API keys: anybody who can connect'
            ' can use the upstream, and stop streams by guessing their ids',
            'set SHMSTREAM_API_KEYS_FILE, or bind 127.0.0.1',
        )
    keys = len(set(settings.api_keys))
    if keys > 1 and keys * settings.owner_share > 1:
        return note(
            f'{keys} keys may have {settings.owner_share:g} of everything each: one can'
            ' take the room of another',
            f'set SHMSTREAM_OWNER_SHARE={int(100 / keys) / 100:g}',
        )
    return ok(
        f'it listens at {shown}, '
        + (f'with API keys ({keys})' if keys else 'without API keys')
    )


def is_tcp(address: str) -> bool:
    """Whether gunicorn's ``bind`` names a TCP address."""
    return not address.startswith(('unix:', 'fd://'))


def host_of(address: str) -> str:
    """Return the host of ``HOST:PORT``, which gunicorn may leave out."""
    host, colon, port = address.rpartition(':')
    if not colon or not port.isdecimal():
        host = address
    return host.strip('[]') or '0.0.0.0'
