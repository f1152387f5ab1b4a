"""Conversation ids and owners: which are allowed, and what their segment is called."""

from __future__ import annotations

import functools
import hashlib
import re

from shmstream.errors import InvalidConversationId

MAX_ID_BYTES = 512
"""Every proxy passes on a URL path segment of this length, and an id may need it: it
may contain the name of a model."""

MAX_ALIAS_BYTES = 440
"""An alias is chosen by an upstream. The ids of known upstreams have up to 200 bytes.
"""

OWNER_BYTES = 32
NOBODY = bytes(OWNER_BYTES)
"""The owner of every stream when no API keys are set: all share one name space."""

MODEL_SEPARATOR = '::'

_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f]')


def owner_of(name: str) -> bytes:
    r"""Return the owner that stands for a user of this name.

    Example::

        alice = shmstream.owner_of('alice')
        with streams.create('chat-1', owner=alice) as producer:
            producer.write(b'data: Hello\n\n')
    """
    return hashlib.sha256(b'shmstream user\0' + name.encode()).digest()


def usable_alias(alias: object) -> bytes | None:
    """Return an alias as bytes; None if no stream can have this alias.

    Args:
        alias: what an upstream or a client has sent.
    """
    if not isinstance(alias, str):
        return None
    try:
        raw = validate_id(alias)
    except InvalidConversationId:
        return None
    return raw if len(raw) <= MAX_ALIAS_BYTES else None


def validate_id(conv_id: str) -> bytes:
    """Return the id's UTF-8 bytes, or raise ``InvalidConversationId``."""
    try:
        raw = conv_id.encode('utf-8')
    except UnicodeEncodeError:
        raise InvalidConversationId('conversation id is not valid Unicode') from None
    if not raw:
        raise InvalidConversationId('conversation id is empty')
    if len(raw) > MAX_ID_BYTES:
        raise InvalidConversationId(
            f'conversation id has {len(raw)} bytes, at most {MAX_ID_BYTES} are allowed'
        )
    if _CONTROL.search(conv_id):
        raise InvalidConversationId('conversation id holds a control character')
    return raw


@functools.lru_cache(maxsize=1024)
def digest(owner: bytes, conv_id: str) -> str:
    """Return the segment's file name: 40 hexadecimal digits.

    The owner is hashed in first and has a fixed length, so that no id of one owner can
    be made to collide with an id of another.
    """
    if len(owner) != OWNER_BYTES:
        raise InvalidConversationId(f'owner must be {OWNER_BYTES} bytes')
    return digest_of_raw(owner, validate_id(conv_id))


def digest_of_raw(owner: bytes, raw: bytes) -> str:
    """As ``digest``, for the bytes of an id as a segment stores them; no checks."""
    return hashlib.blake2b(owner + raw, digest_size=20).hexdigest()
