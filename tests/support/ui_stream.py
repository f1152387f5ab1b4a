"""A UI message stream, as an upstream that speaks it sends it."""

from __future__ import annotations

import json
from typing import Any

HEADERS = (('x-vercel-ai-ui-message-stream', 'v1'),)


def chunk(kind: str, **members: Any) -> bytes:
    """One event."""
    return b'data: %s\n\n' % json.dumps({'type': kind, **members}).encode()


def beginning(text: str, message_id: str | None = None) -> bytes:
    """The events up to and with a first text."""
    named = {} if message_id is None else {'messageId': message_id}
    return chunk('start', **named) + chunk('text-start', id='1') + delta(text)


def delta(text: str) -> bytes:
    """The event of some more text."""
    return chunk('text-delta', id='1', delta=text)


def end(text: str = '') -> bytes:
    """The last events."""
    more = delta(text) if text else b''
    return more + chunk('text-end', id='1') + chunk('finish') + b'data: [DONE]\n\n'
