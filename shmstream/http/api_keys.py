"""API keys, the owners that they stand for, and tokens for one stream.

If keys are set, every route but those of ``health`` needs one. It is sent as
``Authorization: Bearer KEY``, ``x-api-key: KEY`` or ``api-key: KEY``, because SDKs
differ. A stream belongs to the key that made it. Memory and segments hold only digests
of a key. A client that cannot set a header (``EventSource``) can use a token for one
stream::

    token = base64url( expiry u64 | generation u64 | HMAC-SHA256(key', ... | id) )
                       unix s       of the stream     key' is derived from the API key

Every worker can check a token by itself. A token allows reading only. It is valid until
its stream is gone, its time is over or its key is removed.
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
"""Seconds for which a token is valid: longer than any answer takes, but short enough
to limit the harm of a leaked token."""

_KEY_HEADERS = (b'x-api-key', b'api-key')
"""Headers in which the SDKs of Anthropic and Azure send a key."""

_TOKEN = struct.Struct('>QQ')
_MAC_BYTES = 32
_MAX_TOKEN = 128


@dataclass(frozen=True)
class _Key:
    """The digests that are kept of an API key."""

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
    """The API keys, and what they allow.

    Args:
        keys: the keys; without any, everybody may do everything, as one owner.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = [_Key.of(key) for key in keys]

    @property
    def restricted(self) -> bool:
        """Whether there are keys."""
        return bool(self._keys)

    def owner(self, request: Request) -> bytes:
        """Return the owner of a request, by its key.

        Raises:
            Problem: 401, the request has no key, or a key that is not known.
        """
        if not self._keys:
            return NOBODY
        for key in _keys_of(request.headers):
            owner = self.owner_of_key(key)
            if owner is not None:
                return owner
        raise Problem(401, 'Invalid API Key')

    def verdict(self, request: Request) -> Verdict:
        """Return what the client of a request may do, by its key or its token.

        Raises:
            Problem: 401, neither is valid; 400, there is a token but no id.
        """
        if not self._keys:
            return NOBODY
        if request.query and request.method in ('GET', 'HEAD'):
            token = request.parameter(b'token')
            # If there is a key as well, the token is not looked at.
            if token is not None and not _keys_of(request.headers):
                grant = self.check_token(
                    token.decode('latin-1'), request.conversation_id()
                )
                if grant is not None:
                    return grant
        return self.owner(request)

    def without_keys(self, headers: list[Header]) -> list[Header]:
        """Return a request's headers without those that must not go upstream.

        If keys are set, these are ``Authorization`` and every key of the service.
        """
        if not self._keys:
            return headers
        return [
            (name, value)
            for name, value in headers
            if name != b'authorization'
            and (name not in _KEY_HEADERS or self.owner_of_key(value.strip()) is None)
        ]

    def owner_of_key(self, key: bytes) -> bytes | None:
        """Return the owner that this key stands for; None if the key is unknown."""
        digest = hashlib.sha256(key).digest()
        found = None
        # Every key is compared, and each in constant time, so that the time that this
        # takes tells a client nothing.
        for known in self._keys:
            if hmac.compare_digest(known.digest, digest):
                found = known.owner
        return found

    def token(self, owner: bytes, conv_id: str, generation: str) -> str | None:
        """Return a token that allows reading this stream; None if there are no keys."""
        for key in self._keys:
            if key.owner == owner:
                head = _TOKEN.pack(int(time.time()) + TOKEN_S, int(generation, 16))
                raw = head + key.mac(head, conv_id)
                return base64.urlsafe_b64encode(raw).rstrip(b'=').decode()
        return None

    def check_token(self, token: str, conv_id: str) -> Grant | None:
        """Return what the token allows; None if the token is not valid."""
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
    """Return the keys in all headers of a request that may have one."""
    keys = []
    for name, value in headers:
        if name == b'authorization':
            scheme, _, key = value.partition(b' ')
            if scheme.lower() == b'bearer':
                keys.append(key.strip())
        elif name in _KEY_HEADERS:
            keys.append(value.strip())
    return keys
