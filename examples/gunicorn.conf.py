"""A configuration of your own: the last two lines are what an application needs.

A service in front of an upstream (``shmstream.http.app``) also needs ``header_map``,
``keepalive`` and ``limit_request_line`` of the ``gunicorn.conf.py`` above this folder.
"""

bind = '127.0.0.1:8000'
workers = 2
worker_class = 'asgi'
graceful_timeout = 10
timeout = 30

from shmstream.deploy import hooks  # noqa: E402

hooks.install(globals())
