"""Streams for ASGI servers and applications: the serving core's ASGI writer.

::

    application.py    a mountable application: GET, HEAD and DELETE of /{id}
    answering.py      from a request to what has been sent
    writer.py         sends a reply; under gunicorn past its ``send``, for less
    stalled.py        cuts readers that take nothing
    other_servers.py  what gunicorn does for a response, done for other servers
"""

from shmstream.asgi.answering import Permit
from shmstream.asgi.application import Application

__all__ = ['Application', 'Permit']
