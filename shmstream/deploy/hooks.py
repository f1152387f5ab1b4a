"""gunicorn's server hooks: start the supervisor, know the worker, leave cleanly.

A ``gunicorn.conf.py`` of your own needs two lines, at its end::

    from shmstream.deploy import hooks
    hooks.install(globals())

What happens when::

    gunicorn starts      on_starting        start the supervisor (or say who has it)
    USR2, new master     on_starting        join the supervisor that runs
    HUP                  -                  nothing: the supervisor stays
    worker is forked     post_fork          hold signals back while it boots
    worker starts        post_worker_init   remember the worker
    gunicorn stops       on_exit            leave; the last master stops the supervisor
    master is killed     -                  the supervisor sees it end and stops

The supervisor is started by ``subprocess`` before the listening sockets are there: a
fork would inherit them, and keep the port in use after the master has died. It runs as
the user that the workers run as: what it makes is private, and they need it.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NoReturn

from shmstream import lifecycle
from shmstream.control.request import ask
from shmstream.deploy import control_socket, gunicorn_insides
from shmstream.deploy.parser import parser_in_use
from shmstream.errors import ShmstreamError, SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.worker_table import FORMAT
from shmstream.process.host import run_by
from shmstream.ring.layout import MAX_SLOTS
from shmstream.settings import Settings
from shmstream.supervisor.process_limits import raise_descriptor_limit
from shmstream.supervisor.spawn import (
    Account,
    SupervisorRefused,
    start,
    wait_gone,
)
from shmstream.url_prefix import clean_prefix

LEAVE_S = 5.0
"""How long a master waits for the supervisor to have cleaned up."""

MAX_WORKERS = MAX_SLOTS // 2
"""A reload has twice as many for a while, and each needs a slot."""

_TAKEOVER_S = 1.0
_SHM = '/dev/shm'

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def _account(server: Any) -> Account:
    """Whom the workers will run as: from root, ``--user`` names another."""
    cfg = server.cfg
    return Account.of(cfg.uid, cfg.gid, cfg.initgroups)


def _settings(account: Account) -> Settings:
    try:
        return Settings.from_environment(user=account.user)
    except ShmstreamError as ex:
        _exit(str(ex))


def _exit(line: str) -> NoReturn:
    print(f'shmstream: {line}', file=sys.stderr)
    sys.exit(1)


def _check_prefix(setting: str, text: str) -> None:
    if text.strip('/') and not clean_prefix(text):
        _exit(f'{setting}: must be a path like /chat, not {text!r}')


def on_starting(server: Any) -> None:
    """Start the supervisor, or join the one of the master that we succeed."""
    account = _account(server)
    settings = _settings(account)
    directory = RuntimeDirectory(settings.dir)
    raise_descriptor_limit()
    _check_prefix('SCRIPT_NAME', os.environ.get('SCRIPT_NAME', ''))
    _check_prefix('root_path', getattr(server.cfg, 'root_path', ''))
    if server.cfg.workers > MAX_WORKERS:
        _exit(f'{server.cfg.workers} workers, at most {MAX_WORKERS} are supported')
    try:
        directory.check_place(account.user)
    except ShmstreamError as ex:
        _exit(f'SHMSTREAM_DIR: {ex}')
    try:
        parser = parser_in_use(server.cfg)
        status = _running(directory)
        if status is None:
            status = start(directory, settings.supervisor(), [os.getpid()], account)
            server.log.info(
                'shmstream: %s, up to %d sessions in %.0f MiB%s',
                directory.path,
                status['max_sessions'],
                status['max_memory'] / (1 << 20),
                f', {parser}' if parser else '',
            )
        elif not status['masters'] or _predecessor() in status['masters']:
            if status.get('format') != FORMAT:
                # Its segments are of no use to us, nor ours to its workers.
                _exit(
                    f'{directory.path} is in use by another version of shmstream, which'
                    ' keeps streams in another format: stop it, and start this one'
                )
            ask(directory, 'join', pid=os.getpid())
        else:
            owners = ', '.join(map(str, status['masters']))
            _exit(
                f'{directory.path} is in use by the deployment of process {owners};'
                ' set SHMSTREAM_DIR to another directory'
            )
    except SupervisorRefused:
        # The one line that says why has been written.
        sys.exit(1)
    except ShmstreamError as ex:
        _exit(str(ex))
    control_socket.place(server.cfg, directory, bool(_predecessor()))
    _warn_if_open(server, settings)
    # Workers tell a reload, where they may take their time, from the end.
    lifecycle.current.share_stop_flag()
    gunicorn_insides.before_stop(server, lifecycle.current.announce_stop)


def _warn_if_open(server: Any, settings: Settings) -> None:
    if settings.api_keys:
        return
    for address in server.cfg.address:
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            server.log.warning(
                'shmstream: listening at %s without SHMSTREAM_API_KEYS: whoever reaches'
                ' it can use the upstream, and stop streams whose ids they guess',
                address[0],
            )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        # A name; what others stand for may change.
        return host == 'localhost'


def _predecessor() -> int:
    """The master that started us by USR2; 0 if nobody did."""
    return int(os.environ.get('GUNICORN_PID') or 0)


def _running(directory: RuntimeDirectory) -> dict[str, Any] | None:
    # A supervisor whose master has died is gone in a moment: wait for that moment.
    deadline = time.monotonic() + _TAKEOVER_S
    while True:
        try:
            status = ask(directory, 'status')
        except SupervisorUnavailable:
            return None
        if status['masters'] or time.monotonic() >= deadline:
            return status
        time.sleep(0.02)


def post_fork(server: Any, worker: Any) -> None:
    """Hold signals back until the worker can hear them.

    Until its event loop runs, uvloop drops what it should handle: a worker that is told
    to stop while it boots would not, and its master would wait for it in vain.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def post_worker_init(worker: Any) -> None:
    """Remember the worker, to know when it is told to stop."""
    lifecycle.current.worker = worker
    run_by(lifecycle.current)
    if gunicorn_insides.is_asgi_worker(worker):
        _prepare_asgi_worker(worker)
    _log_with(worker.log)
    loop = getattr(worker, 'loop', None)
    if loop is None:
        _hear_signals()
    else:
        loop.call_soon(_hear_signals)


def _prepare_asgi_worker(worker: Any) -> None:
    for line in gunicorn_insides.missing(worker):
        worker.log.warning('shmstream: %s', line)
    gunicorn_insides.send_headers_early()
    gunicorn_insides.note_connections()


def _hear_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _log_with(log: Any) -> None:
    """Have our loggers write where gunicorn's error log goes, at its level."""
    ours = logging.getLogger('shmstream')
    ours.handlers = list(log.error_log.handlers)
    ours.setLevel(log.error_log.level)
    ours.propagate = False


def on_exit(server: Any) -> None:
    """Leave; whoever is the last waits until everything has been cleaned up."""
    directory = RuntimeDirectory(_settings(_account(server)).dir)
    try:
        ask(directory, 'leave', pid=os.getpid())
        status = ask(directory, 'status')
    except SupervisorUnavailable:
        status = None
    if status is None or not status['masters']:
        wait_gone(directory, LEAVE_S)


def worker_tmp_dir() -> str | None:
    """Return where workers heart-beat: in shared memory, if there is any to write to.

    None: in the system's temporary directory, which may be a slow disk.
    """
    return _SHM if os.access(_SHM, os.W_OK | os.X_OK) else None


def install(config: dict[str, Any]) -> None:
    """Add the hooks to a configuration, after those that it has already.

    Args:
        config: the ``globals()`` of a ``gunicorn.conf.py``.
    """
    hooks: tuple[Callable[..., None], ...] = (
        on_starting,
        post_fork,
        post_worker_init,
        on_exit,
    )
    for hook in hooks:
        own = config.get(hook.__name__)
        config[hook.__name__] = hook if own is None else _both(own, hook)


def _both(
    first: Callable[..., None], second: Callable[..., None]
) -> Callable[..., None]:
    @functools.wraps(second)  # gunicorn checks how many arguments a hook takes
    def hook(*args: Any) -> None:
        first(*args)
        second(*args)

    return hook
