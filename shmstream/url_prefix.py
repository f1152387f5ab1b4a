"""The path that a service is found below, as a text says it."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_CLEAN = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
_MAX = 512


def clean_prefix(text: str) -> str:
    """Return what a text says as a prefix (``/pre``); '' if it says none that can be.

    It goes in front of addresses, and must not make another host's of them.
    """
    text = text.rstrip('/')
    if len(text) > _MAX or not _CLEAN.fullmatch(text):
        return ''
    names = unquote_to_bytes(text).split(b'/')
    return '' if b'.' in names or b'..' in names else text
