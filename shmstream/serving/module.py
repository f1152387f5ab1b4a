"""``shmstream.js``, by which a page reads streams, beside those of an application.

A stream whose id is ``shmstream.js`` is found by ``?conv_id=`` only, and by the routes
of chats: its path is that of the module.
"""

from __future__ import annotations

from shmstream.browser import CONTENT_TYPE, HEADERS, MODULE, module
from shmstream.serving.reply import Reply
from shmstream.serving.request import Request

_HEADERS = {'Content-Type': CONTENT_TYPE} | HEADERS


def module_for(request: Request) -> Reply | None:
    """Return the module if it is asked for, whoever asks; None otherwise."""
    # The path of a request for a chat is the chat's id.
    asked = not request.chat and request.path == MODULE.encode()
    if not asked or request.method not in ('GET', 'HEAD'):
        return None
    data = module()
    headers = [(n.lower().encode(), v.encode()) for n, v in _HEADERS.items()]
    headers.append((b'content-length', b'%d' % len(data)))
    return Reply(200, headers, b'' if request.method == 'HEAD' else data)
