"""A plain WSGI application (as Flask or Django are) with resumable answers.

``gunicorn -c examples/gunicorn.conf.py -k gthread --threads 8 examples.wsgi_app:app``,
or with ``-k gevent`` or ``-k sync``, for which nothing changes.
"""

import threading
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

from shmstream import StreamNotFound, Streams
from shmstream.deploy import wsgi

streams = Streams.attach()


def generate(chat: str, prompt: str) -> None:
    """Write the answer into the stream, whoever listens, to the end."""
    with streams.create(chat) as producer:
        for word in prompt.split():
            time.sleep(0.02)  # stand-in for what takes its time
            if not producer.write(f'data: {word}\n\n'.encode()):
                return  # cancelled, or replaced by a newer question


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """POST begins an answer, GET reads it from any offset, DELETE stops it."""
    chat = environ['PATH_INFO'].removeprefix('/chats/')
    match environ['REQUEST_METHOD']:
        case 'POST':
            prompt = environ['wsgi.input'].read().decode()
            threading.Thread(target=generate, args=(chat, prompt), daemon=True).start()
            start_response('202 Accepted', [('Content-Length', '0')])
            return []
        case 'GET':
            try:
                consumer = streams.open(chat)
            except StreamNotFound:
                start_response('404 Not Found', [('Content-Length', '0')])
                return []
            offset = int(parse_qs(environ['QUERY_STRING']).get('from', ['0'])[0])
            start_response('200 OK', [('Content-Type', consumer.content_type)])
            # Ends when its client leaves, too, and gives the thread back.
            return wsgi.Body(environ, consumer, offset)
        case 'DELETE':
            streams.evict(chat)
            start_response('204 No Content', [])
            return []
        case _:
            start_response('405 Method Not Allowed', [('Content-Length', '0')])
            return []
