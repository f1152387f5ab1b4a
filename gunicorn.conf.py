"""shmstream under gunicorn: ``gunicorn -c gunicorn.conf.py``.

Settings of the service come from SHMSTREAM_* variables (see README.md), those of
gunicorn from its command line or GUNICORN_CMD_ARGS, which both win over this file.
"""

import os

from shmstream.deploy import hooks

wsgi_app = 'shmstream.http.app:create_app()'
bind = '127.0.0.1:8000'
workers = min(max(2, os.cpu_count() or 1), hooks.MAX_WORKERS)

# gunicorn's own ASGI worker. The C parser is used where it is installed: it comes with
# shmstream[fast], and is built by a compiler.
worker_class = 'asgi'
asgi_loop = 'uvloop'
http_parser = 'auto'
asgi_lifespan = 'on'

# A reader that has left is let go at once: there is nothing to wind down.
asgi_disconnect_grace_period = 0

# An hour-long response is no hung worker: the loop heart-beats beside it. What must
# not be is timeout <= graceful_timeout, as a worker does not heart-beat while it waits
# for connections to end.
# Generations run on through a reload for as long as SHMSTREAM_DRAIN allows, whatever
# graceful_timeout is; but the master of gunicorn 27 hears no further signal before it
# has waited that long for the old workers.
graceful_timeout = 10
timeout = 30

# An id of 512 bytes is up to 1536 when it is percent-encoded, and upstreams have long
# queries of their own.
limit_request_line = 8190

# Longer than the minute for which balancers keep idle connections: who closes first is
# never in the middle of the other's request. A worker that leaves closes them itself.
keepalive = 75

# A shared memory file system: heart-beats on a slow disk can block a worker.
worker_tmp_dir = hooks.worker_tmp_dir()

# Off, as gunicorn's own: `--access-logfile -` turns it on. One line per response then,
# written at its end: which stream, from where, by which worker.
logger_class = 'shmstream.deploy.logger.RequestLogger'
access_log_format = (
    '%(h)s "%(m)s %(U)s" %(s)s %(B)sB %(M)sms worker=%(p)s'
    ' from=%({Stream-Offset}o)s state=%({Stream-State}o)s'
    ' generation=%({Stream-Generation}o)s'
)

hooks.install(globals())
