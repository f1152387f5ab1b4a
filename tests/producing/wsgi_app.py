"""The same as ``asgi_app`` in WSGI."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shmstream import Streams
from shmstream.wsgi import Application
from tests.producing.scripted import script

FOLDER = Path(os.environ.get('PRODUCING_FOLDER', '.'))

streams = Streams.attach()


def post(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a POST of /chats/ID; 404 for the rest."""
    if environ['REQUEST_METHOD'] != 'POST':
        start_response('404 Not Found', [])
        return [b'%d' % os.getpid()]
    asked = json.loads(environ['wsgi.input'].read())
    source = script(FOLDER, asked).in_thread
    chat = environ['PATH_INFO'].removeprefix('/chats/')
    started = streams.start_in_thread(chat, source)
    worker = ('stream-worker', str(os.getpid()))
    start_response('200 OK', [*started.headers.items(), worker])
    return [] if asked.get('detached') else started.follow()


app = Application(streams, prefix='/chats', otherwise=post)
