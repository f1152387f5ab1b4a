"""A plain WSGI application (as Flask or Django are) with resumable answers.

``gunicorn -c examples/gunicorn.conf.py -k gthread --threads 8 examples.wsgi_app:app``,
or with ``-k gevent`` or ``-k sync``, without any other change.
"""

import threading
import time
from collections.abc import Iterable
from typing import Any

from shmstream import Streams
from shmstream.wsgi import Application

streams = Streams.attach()


def generate(chat: str, prompt: str) -> None:
    """Write the whole answer into the stream, whether or not anybody reads it."""
    with streams.create(chat) as producer:
        for word in prompt.split():
            time.sleep(0.02)  # stands in for a slow model
            if not producer.write(f'data: {word}\n\n'.encode()):
                return  # cancelled, or replaced by a newer question


def chats(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """POST begins an answer."""
    if environ['REQUEST_METHOD'] != 'POST':
        start_response('405 Method Not Allowed', [('Content-Length', '0')])
        return []
    chat = environ['PATH_INFO'].removeprefix('/chats/')
    prompt = environ['wsgi.input'].read().decode()
    threading.Thread(target=generate, args=(chat, prompt), daemon=True).start()
    start_response('202 Accepted', [('Content-Length', '0')])
    return []


# GET reads an answer from any offset, DELETE stops it; other requests go to `chats`.
app = Application(streams, prefix='/chats', otherwise=chats)
