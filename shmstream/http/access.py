"""Who may do what: API keys, the name spaces they own, stream tokens, CORS.

With keys set every route but ``/healthz`` wants ``Authorization: Bearer KEY``. A
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
from dataclasses import dataclass
from typing import Any

import falcon
import falcon.asgi

from shmstream.http import request
from shmstream.http.errors import Problem
from shmstream.ids import NOBODY

TOKEN_S = 24 * 3600
"""As long as a token is good for: longer than any generation, shorter than a leak."""

_TOKEN = struct.Struct('>QQ')
_MAC_BYTES = 32
_MAX_TOKEN = 128

_EXPOSED = (
    'Location, Retry-After, Stream-Dropped-Prefix, Stream-Generation, Stream-Offset,'
    ' Stream-State, Stream-Token, Stream-Total-Bytes, Stream-Worker'
)
_ALLOWED_HEADERS = (
    'Authorization, Content-Type, Last-Event-ID, Stream-On-Disconnect,'
    ' X-Conversation-Id'
)
_PREFLIGHT_S = 600


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


class Access:
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

    def owner_of_key(self, key: str) -> bytes | None:
        """The owner that this API key stands for; None if it is none of ours."""
        digest = hashlib.sha256(key.encode('utf-8', 'surrogateescape')).digest()
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

    def check_token(self, token: str, conv_id: str) -> tuple[bytes, str] | None:
        """Return the (owner, generation) that the token is good for; None if none."""
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
        return found, f'{generation:016x}'


class AccessMiddleware:
    """Checks every request before it is routed.

    Leaves in ``req.context``: ``owner``, and ``generation``, the only one that the
    request may see (None: any).
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    async def process_request(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Find out whose request it is, or refuse it."""
        req.context.owner = NOBODY
        req.context.generation = None
        if not self._access.restricted or req.path == '/healthz':
            return
        scheme, _, key = (req.get_header('Authorization') or '').partition(' ')
        if scheme.lower() == 'bearer':
            owner = self._access.owner_of_key(key.strip())
            if owner is not None:
                req.context.owner = owner
                return
        elif self._by_token(req):
            return
        resp.set_header('WWW-Authenticate', 'Bearer')
        raise Problem(401, 'Invalid API Key')

    def _by_token(self, req: falcon.asgi.Request) -> bool:
        token = request.query(req, b'token')
        if token is None or req.method not in ('GET', 'HEAD'):
            return False
        if not (req.path + '/').startswith('/v1/stream/'):
            return False
        good_for = self._access.check_token(
            token.decode('latin-1'), request.conversation_id(req)
        )
        if good_for is None:
            return False
        req.context.owner, req.context.generation = good_for
        return True


class CorsMiddleware:
    """Lets pages of other origins use the service, if they are named.

    Args:
        origins: such as ``https://chat.example.org``.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = frozenset(origins)

    async def process_request(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Answer a preflight request: it comes without a key."""
        request.check_target(req)
        if req.method != 'OPTIONS':
            return
        if req.get_header('Access-Control-Request-Method') is None:
            return
        resp.status = falcon.HTTP_204
        resp.complete = True
        if req.get_header('Origin') in self._origins:
            resp.set_headers(
                {
                    'Access-Control-Allow-Methods': 'GET, HEAD, POST, DELETE',
                    'Access-Control-Allow-Headers': _ALLOWED_HEADERS,
                    'Access-Control-Max-Age': str(_PREFLIGHT_S),
                }
            )

    async def process_response(
        self,
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response,
        _resource: Any,
        _succeeded: bool,
    ) -> None:
        """Say whether the page that asked may see the answer."""
        if not self._origins:
            return
        resp.append_header('Vary', 'Origin')
        origin = req.get_header('Origin')
        if origin in self._origins:
            resp.set_header('Access-Control-Allow-Origin', origin or '')
            resp.set_header('Access-Control-Expose-Headers', _EXPOSED)
