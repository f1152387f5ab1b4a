"""A plain WSGI application (as Flask or Django are) with resumable answers.

``gunicorn -c examples/gunicorn.conf.py -k gthread --threads 8 examples.wsgi_app:app``,
or with ``-k gevent`` or ``-k sync``, without any other change.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from shmstream import Streams
from shmstream.wsgi import Application

streams = Streams.attach()


def model(prompt: str) -> Iterator[str]:
    """Stand in for a model: slow, word by word."""
    for word in prompt.split():
        time.sleep(0.02)
        yield word


def chats(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """POST begins an answer."""
    if environ['REQUEST_METHOD'] != 'POST':
        start_response('405 Method Not Allowed', [('Content-Length', '0')])
        return []
    chat = environ['PATH_INFO'].removeprefix('/chats/')
    prompt = environ['wsgi.input'].read().decode()
    # The answer is written to its end, whether or not anybody reads it, and through a
    # reload of the workers.
    streams.start_in_thread(chat, model(prompt))
    start_response('202 Accepted', [('Content-Length', '0')])
    return []


# GET reads an answer from any offset, DELETE stops it; other requests go to `chats`.
app = Application(streams, prefix='/chats', otherwise=chats)
