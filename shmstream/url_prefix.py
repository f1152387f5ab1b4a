"""Checks the text of a prefix: the path below which clients find a service."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_CLEAN = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
_MAX = 512


def clean_prefix(text: str) -> str:
    """Return the prefix in a text, such as ``/chat``; '' if the text is no prefix.

    A prefix is put in front of addresses. So a text that could make an address lead to
    another host is no prefix.
    """
    text = text.rstrip('/')
    if len(text) > _MAX or not _CLEAN.fullmatch(text):
        return ''
    names = unquote_to_bytes(text).split(b'/')
    return '' if b'.' in names or b'..' in names else text
