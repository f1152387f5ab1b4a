"""Streams for WSGI servers and applications: the serving core's WSGI writer.

::

    application.py    a mountable application: streams at /{id}, and chats
    response_body.py  the rest of a stream as the body of a response
    reader_threads.py how many threads of a worker may be readers
"""

from shmstream.wsgi.application import Application
from shmstream.wsgi.response_body import Body, client_left

__all__ = ['Application', 'Body', 'client_left']
