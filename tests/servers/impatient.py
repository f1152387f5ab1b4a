"""The example's WSGI application, which gives up soon on who does not read."""

from __future__ import annotations

from shmstream.deploy import wsgi
from tests.servers.wsgi import app

wsgi.STALLED_LOOKS = 3

__all__ = ['app']
