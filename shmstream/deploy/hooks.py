"""gunicorn's server hooks: they start the supervisor, and help workers to stop.

A ``gunicorn.conf.py`` of your own needs two lines, at its end::

    from shmstream.deploy import hooks
    hooks.install(globals())

What happens when::

    gunicorn starts      on_starting        start the supervisor, or exit if another
                                            deployment uses the directory
    USR2, new master     on_starting        join the supervisor that runs
    HUP                  -                  nothing: the supervisor stays
    worker is forked     post_fork          hold signals back while the worker boots
    worker starts        post_worker_init   remember the worker; have it wait for its
                                            productions before it ends
    gunicorn stops       on_exit            leave; the last master stops the supervisor
    master is killed     -                  the supervisor notices its end, and stops

The supervisor is started by ``subprocess`` before the listening sockets exist: a fork
would inherit them, and keep the port in use after the master has died. The supervisor
runs as the user of the workers, because its files are private and the workers need
them.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from shmstream.control.request import ask
from shmstream.deploy import (
    control_socket,
    gunicorn_ends,
    gunicorn_insides,
    gunicorn_workers,
    worker_life,
)
from shmstream.deploy.draining import drain_before_end
from shmstream.deploy.parser import parser_in_use
from shmstream.deploy.service_needs import is_service, needed, unmet, used_modules
from shmstream.errors import ShmstreamError, SupervisorUnavailable
from shmstream.host_names import is_loopback
from shmstream.logs.form import in_json
from shmstream.logs.repeats import watch_repeats
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
"""How long a master waits until the supervisor has cleaned up."""

MAX_WORKERS = MAX_SLOTS // 2
"""Each worker needs a slot, and during a reload there are twice as many workers."""

_TAKEOVER_S = 1.0
"""How long a new master waits until the supervisor of a dead master has stopped."""

_SHM = '/dev/shm'

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def _account(server: Any) -> Account:
    """Return the user and groups that the workers will run as."""
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


def _check_needs(worker_class: object) -> None:
    packages = needed(os.environ)
    if worker_class != 'asgi':
        # Another worker, such as uvicorn's, needs nothing of gunicorn's own.
        packages = tuple(name for name in packages if name != 'gunicorn')
    line = unmet(packages)
    if line is not None:
        _exit(line)


def on_starting(server: Any) -> None:
    """Start the supervisor, or join that of the master that this one replaces."""
    ours = is_service(getattr(server.app, 'app_uri', None))
    if ours:
        _check_needs(server.cfg.worker_class_str)
    account = _account(server)
    settings = _settings(account)
    directory = RuntimeDirectory(settings.dir)
    # Before the supervisor starts: it logs at the level of this process.
    _log_with(server.log)
    if ours:
        _log_others_with(server.log)
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
                # Neither version could read the segments of the other.
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
        # The supervisor has already written the line that says why.
        sys.exit(1)
    except ShmstreamError as ex:
        _exit(str(ex))
    control_socket.place(server.cfg, server.log, directory, bool(_predecessor()))
    _warn_if_open(server, settings)
    # This flag tells workers whether the whole service stops, or only reloads: at a
    # reload they may take longer.
    worker_life.current.share_stop_flag()
    gunicorn_ends.before_stop(server, worker_life.current.announce_stop)
    if ours:
        # Once here, and not again in each worker: importing is much of what a worker
        # takes to start, above all with an upstream, and the workers share the memory.
        for module in used_modules(os.environ):
            importlib.import_module(module)


def _warn_if_open(server: Any, settings: Settings) -> None:
    if settings.api_keys:
        return
    for address in server.cfg.address:
        if isinstance(address, tuple) and not is_loopback(address[0]):
            server.log.warning(
                'shmstream: listening at %s without SHMSTREAM_API_KEYS: anybody who can'
                ' connect can use the upstream, and stop streams by guessing their ids',
                address[0],
            )


def _predecessor() -> int:
    """Return the pid of the master that started this one after USR2; 0 if none did."""
    return int(os.environ.get('GUNICORN_PID') or 0)


def _running(directory: RuntimeDirectory) -> dict[str, Any] | None:
    # A supervisor whose master has died stops in a moment: wait until it has.
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
    """Block stop signals until the worker can handle them.

    uvloop drops signals that arrive before its event loop runs. So a worker that is
    told to stop while it boots would go on, and its master would wait in vain.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def post_worker_init(worker: Any) -> None:
    """Remember the worker: it shows later whether it has been told to stop."""
    worker_life.current.worker = worker
    run_by(worker_life.current)
    drain_before_end(worker, worker_life.current)
    missing = gunicorn_insides.missing(worker)
    for line in missing:
        worker.log.warning('shmstream: %s', line)
    parser = parser_in_use(worker.cfg) or ''
    slow = [parser] if 'in Python' in parser else []
    worker_life.current.degraded = missing + slow
    if gunicorn_workers.is_asgi_worker(worker):
        gunicorn_insides.send_headers_early()
        gunicorn_insides.note_connections()
        gunicorn_insides.note_bare_queries()
    _log_with(worker.log)
    loop = getattr(worker, 'loop', None)
    if loop is None:
        _hear_signals()
    else:
        loop.call_soon(_hear_signals)


def _hear_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


def _log_with(log: Any) -> None:
    """Have shmstream's loggers write to gunicorn's error log, at its level."""
    ours = logging.getLogger('shmstream')
    ours.handlers = list(log.error_log.handlers)
    ours.setLevel(log.error_log.level)
    ours.propagate = False
    watch_repeats(ours.handlers)


def _log_others_with(log: Any) -> None:
    """Have all other loggers, such as asyncio's, write JSON there as well.

    Without a handler they write plain text to stderr.
    """
    root = logging.getLogger()
    if in_json() and not root.handlers:
        root.handlers = list(log.error_log.handlers)
        logging.captureWarnings(True)


def on_exit(server: Any) -> None:
    """Leave the supervisor. The last master waits for the supervisor's clean-up."""
    directory = RuntimeDirectory(_settings(_account(server)).dir)
    try:
        ask(directory, 'leave', pid=os.getpid())
        status = ask(directory, 'status')
    except SupervisorUnavailable:
        status = None
    if status is None or not status['masters']:
        wait_gone(directory, LEAVE_S)


def worker_tmp_dir() -> str | None:
    """Return the directory for the files by which workers tell that they are alive.

    Returns:
        The directory of shared memory. None if it cannot be written to; then gunicorn
        uses the system's temporary directory, which may be on a slow disk.

    Example::

        worker_tmp_dir = hooks.worker_tmp_dir()
    """
    return _SHM if os.access(_SHM, os.W_OK | os.X_OK) else None


def install(config: dict[str, Any]) -> None:
    """Add the hooks to a configuration, whose own hooks stay, and are called first.

    Args:
        config: the ``globals()`` of a ``gunicorn.conf.py``.

    Raises:
        SystemExit: the configuration is that of the service, which needs a newer
            gunicorn; a line on stderr says so.

    Example::

        from shmstream.deploy import hooks

        hooks.install(globals())
    """
    # Not later: gunicorn looks for the class of its workers before it calls a hook, and
    # old versions have no ASGI worker.
    if is_service(config.get('wsgi_app')):
        _check_needs(config.get('worker_class'))
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
