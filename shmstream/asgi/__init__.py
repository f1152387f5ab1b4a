"""Streams for ASGI servers and applications: the serving core's ASGI writer.

::

    application.py      a mountable application: streams at /{id}, and chats
    answering.py        takes a request, asks the core, sends the reply
    body.py             reads a request's body
    body_pace.py        how slowly a body may come
    writer.py           sends a reply; under gunicorn in a cheaper way than by ``send``
    iterated.py         a stream as an async iterator, for frameworks without a ``send``
    stalled.py          cuts readers that take nothing
    keepalive.py        has the kernel find peers that have vanished
    other_servers.py    does for other servers what gunicorn does for a response
    quiet_cut.py        cuts a response without an error in the server's log
    servers_send.py     the server's ``send`` behind those of a framework
    task_middleware.py  cuts a response that middleware sends from another task
"""

from shmstream.asgi.answering import Permit
from shmstream.asgi.application import Application
from shmstream.deploy.lifespan import Drained

__all__ = ['Application', 'Drained', 'Permit']
