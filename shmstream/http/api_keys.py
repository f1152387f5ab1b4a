"""API keys, the name spaces they own, and tokens for one stream.

With keys set every route but ``/healthz`` wants one: ``Authorization: Bearer KEY``, or
``x-api-key`` or ``api-key``, as the client libraries of other makers send them. A
session belongs to the key that made it; what is kept of a key, in memory and in
segments, is its digest. Where a header cannot be set (``EventSource``), a token for one
session does::

    token = base64url( expiry u64 | generation u64 | HMAC-SHA256(key', ... | id) )
                       unix s       of the session    key' is derived from the API key

Every worker can check it without asking anybody, it is read-only, and it ends with its
session, with its time, or when its key is taken away.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from shmstream.ids import NOBODY
from shmstream.serving.permit import Grant, Verdict
from shmstream.serving.problems import Problem
from shmstream.serving.request import Header, Request

TOKEN_S = 24 * 3600
"""As long as a token is good for: longer than any generation, shorter than a leak."""

_KEY_HEADERS = frozenset({b'x-api-key', b'api-key'})
_KEY_NAMES = frozenset(name.decode() for name in _KEY_HEADERS)

_TOKEN = struct.Struct('>QQ')
_MAC_BYTES = 32
_MAX_TOKEN = 128


@dataclass(frozen=True)
class _Key:
    """What is kept of an API key."""

    digest: bytes
    owner: bytes
    secret: bytes

    @classmethod
    def of(cls, key: str) -> _Key:
        raw = key.encode()
        return cls(
            hashlib.sha256(raw).digest(),
            hashlib.sha256(b'shmstream owner\0' + raw).digest(),
            hmac.digest(raw, b'shmstream stream token', 'sha256'),
        )

    def mac(self, head: bytes, conv_id: str) -> bytes:
        return hmac.digest(self.secret, head + conv_id.encode(), 'sha256')


class ApiKeys:
    """The keys, and what they allow.

    Args:
        keys: API keys; without any, everybody may do everything, as one owner.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = [_Key.of(key) for key in keys]

    @property
    def restricted(self) -> bool:
        """Whether there are keys."""
        return bool(self._keys)

    def owner(self, request: Request) -> bytes:
        """Return whose this request is, by the key that comes with it.

        Raises:
            Problem: 401.
        """
        if not self._keys:
            return NOBODY
        for key in _keys_of(request.headers):
            owner = self.owner_of_key(key)
            if owner is not None:
                return owner
        raise Problem(401, 'Invalid API Key')

    def for_upstream(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return a request's headers without what is not for the upstream to see.

        That is our own keys, and any ``Authorization`` where we have keys.
        """
        if not self._keys:
            return headers
        return [
            (name, value)
            for name, value in headers
            if name != 'authorization'
            and not (name in _KEY_NAMES and self.owner_of_key(_raw(value)))
        ]

    def verdict(self, request: Request) -> Verdict:
        """Return what a request for a stream may see, by its key or its token.

        Raises:
            Problem: 401; or 400, there is a token and no id.
        """
        if self._keys and request.query and request.method in ('GET', 'HEAD'):
            token = request.parameter(b'token')
            # A key wins.
            if token is not None and not _keys_of(request.headers):
                grant = self.check_token(
                    token.decode('latin-1'), request.conversation_id()
                )
                if grant is not None:
                    return grant
        return self.owner(request)

    def owner_of_key(self, key: bytes) -> bytes | None:
        """The owner that this API key stands for; None if it is none of ours."""
        digest = hashlib.sha256(key).digest()
        found = None
        # Every key is compared, in constant time: how long it takes tells nothing.
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                found = known.owner
        return found

    def token(self, owner: bytes, conv_id: str, generation: str) -> str | None:
        """A token to read this session with; None without keys."""
        for key in self._keys:
            if key.owner == owner:
                head = _TOKEN.pack(int(time.time()) + TOKEN_S, int(generation, 16))
                raw = head + key.mac(head, conv_id)
                return base64.urlsafe_b64encode(raw).rstrip(b'=').decode()
        return None

    def check_token(self, token: str, conv_id: str) -> Grant | None:
        """Return what the token is good for; None if nothing."""
        if len(token) > _MAX_TOKEN:
            return None
        try:
            raw = base64.b64decode(token + '=' * (-len(token) % 4), b'-_', True)
        except (binascii.Error, ValueError):
            return None
        if len(raw) != _TOKEN.size + _MAC_BYTES:
            return None
        head, mac = raw[: _TOKEN.size], raw[_TOKEN.size :]
        expiry, generation = _TOKEN.unpack(head)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.mac(head, conv_id), mac):
                found = key.owner
        if found is None or expiry < time.time():
            return None
        return Grant(found, f'{generation:016x}')


def _keys_of(headers: Iterable[Header]) -> list[bytes]:
    """Return the keys that come with a request, in whatever header."""
    keys = []
    for name, value in headers:
        if name == b'authorization':
            scheme, _, key = value.partition(b' ')
            if scheme.lower() == b'bearer':
                keys.append(key.strip())
        elif name in _KEY_HEADERS:
            keys.append(value.strip())
    return keys


def _raw(value: str) -> bytes:
    return value.strip().encode('utf-8', 'replace')
