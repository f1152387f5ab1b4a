"""``python -m shmstream.supervisor``: run a supervisor.

The gunicorn hooks start a supervisor. Start one by hand only for programs that use the
library without gunicorn and share a directory.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from logging import INFO
from pathlib import Path

from shmstream.errors import ShmstreamError
from shmstream.logs.stderr import log_to_stderr
from shmstream.memory.directory import RuntimeDirectory, directory_from_environment
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.lock_and_socket import AlreadyRunning
from shmstream.supervisor.process_limits import raise_descriptor_limit
from shmstream.supervisor.server import Supervisor, install_signals
from shmstream.supervisor.spawn import REFUSED, STARTED_OVER


def main() -> int:
    """Run until the last master has gone, or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog='python -m shmstream.supervisor', description=__doc__
    )
    parser.add_argument(
        '--directory', type=Path, help='runtime directory; default: $SHMSTREAM_DIR'
    )
    parser.add_argument(
        '--config', help='settings as JSON; default: those of the last deployment'
    )
    parser.add_argument(
        '--master', type=int, action='append', default=[], help='pid to work for'
    )
    parser.add_argument(
        '--log-level', type=int, default=INFO, help='number of the lowest level'
    )
    args = parser.parse_args()
    # The signal mask is inherited, and gunicorn's workers boot with these signals
    # blocked.
    signal.pthread_sigmask(
        signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    )
    log_to_stderr(args.log_level)
    raise_descriptor_limit()
    try:
        directory = RuntimeDirectory(args.directory or directory_from_environment())
        config = None
        if args.config is not None:
            config = SupervisorConfig(**json.loads(args.config))
        supervisor = Supervisor(directory, config, args.master)
    except AlreadyRunning:
        # Several workers notice a supervisor's death at once, and each starts another.
        return 0
    except (ShmstreamError, OSError, TypeError, ValueError) as ex:
        print(f'shmstream supervisor: {ex}', file=sys.stderr)
        return REFUSED
    install_signals(supervisor)
    return 0 if supervisor.run() else STARTED_OVER


if __name__ == '__main__':
    sys.exit(main())
