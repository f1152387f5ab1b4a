"""gunicorn's configuration for the service.

``shmstream serve`` uses it, and so does ``gunicorn -c gunicorn.conf.py`` in a clone,
where ``gunicorn.conf.py`` is a link to this file. Settings of the service come from
SHMSTREAM_* variables (docs/settings.md). gunicorn's own settings stand here; gunicorn's
command line and GUNICORN_CMD_ARGS win over them.
"""

import os

from shmstream.deploy import hooks

wsgi_app = 'shmstream.http.app:create_app()'
bind = '127.0.0.1:8000'
workers = min(max(2, len(os.sched_getaffinity(0))), hooks.MAX_WORKERS)

# gunicorn's own ASGI worker. 'auto' uses the HTTP parser in C where it is installed:
# shmstream[fast] brings it, and needs a compiler.
worker_class = 'asgi'
asgi_loop = 'uvloop'
http_parser = 'auto'
asgi_lifespan = 'on'

# No time for a handler whose client has left: a reader's has nothing to wind down.
asgi_disconnect_grace_period = 0

# timeout does not limit responses: the loop heart-beats during an hour-long one, too.
# But it must be larger than graceful_timeout, because a worker does not heart-beat
# while it waits for its connections to end.
# Answers go on through a reload for as long as SHMSTREAM_DRAIN allows, whatever
# graceful_timeout is. But the master of gunicorn 27 hears no other signal until it has
# waited graceful_timeout for the old workers.
graceful_timeout = 10
timeout = 30

# An id of 512 bytes takes up to 1536 bytes when it is percent-encoded, and requests for
# the upstream may have long queries.
limit_request_line = 8190

# Header names with underscores (session_id) must reach the upstream. They are dangerous
# in a WSGI environment, in which X_Forwarded_For and X-Forwarded-For have one name. The
# service has no such environment, and passes on no name that imitates one of its own.
header_map = 'dangerous'

# Longer than the minute for which balancers keep idle connections: who closes first is
# never in the middle of the other's request. A worker that leaves closes them itself.
keepalive = 75

# On a memory file system, because heart-beats on a slow disk can block a worker.
worker_tmp_dir = hooks.worker_tmp_dir()

# The access log is off, as in gunicorn; `--access-logfile -` turns it on. It has a line
# per response, written at its end: which stream, from which offset, by which worker.
logger_class = 'shmstream.deploy.logger.RequestLogger'
access_log_format = (
    '%(h)s "%(m)s %(U)s" %(s)s %(B)sB %(M)sms worker=%(p)s'
    ' from=%({Stream-Offset}o)s state=%({Stream-State}o)s'
    ' generation=%({Stream-Generation}o)s'
    ' request=%(request_id)s trace=%(trace_id)s'
)

hooks.install(globals())
