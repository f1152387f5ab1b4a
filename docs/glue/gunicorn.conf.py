"""What the two applications with shmstream need of gunicorn: the last two lines."""

bind = '127.0.0.1:8000'
workers = 2

from shmstream.deploy import hooks  # noqa: E402

hooks.install(globals())
