"""Which conversation a POST belongs to, and whether it asks for a stream.

An id in the head of the request is known at once. An id in the body, and
``"stream": true``, are known when they have arrived. If an id is found in several
places, the first place of the setting counts (``SHMSTREAM_ID_FROM``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import falcon.asgi

from shmstream.chance import random_bits
from shmstream.errors import InvalidConversationId
from shmstream.id_from import RESPONSE, IdFrom
from shmstream.ids import MAX_ID_BYTES, validate_id
from shmstream.serving.body_fields import BodyFields, TooLong
from shmstream.serving.problems import Problem
from shmstream.serving.request import parameter, times

_STREAM = 'stream'
_RESPONSES = '/responses'


class Conversation:
    """What one POST says about its conversation.

    Args:
        req: the request. Only its head is read here.
        places: where the id may be. The first place in which an id is found counts.
        streamed: the POST asks for a stream, unless its body says otherwise.

    Raises:
        Problem: 400, a header or a parameter with the id comes twice, or an id is not
            UTF-8.
        InvalidConversationId: an id in the head is not valid.
    """

    def __init__(
        self,
        req: falcon.asgi.Request,
        places: Sequence[IdFrom],
        streamed: bool = False,
    ) -> None:
        self._streamed = streamed
        self._in_head: str | None = None
        self._in_body: list[str] = []
        for place in places:
            if place.kind == 'body':
                self._in_body.append(place.name)
            elif place.kind == RESPONSE:
                if req.path.endswith(_RESPONSES):
                    # Nobody has to know this id: the session is found by its alias.
                    self._in_head = f'response-{random_bits(128):032x}'
                    break
            elif (found := _in_head(req, place)) is not None:
                validate_id(found)
                self._in_head = found
                break
        kind = (req.content_type or '').partition(';')[0].lower()
        if self._in_head is None and not kind.rstrip().endswith('json'):
            # A body that is not JSON is not held in memory just to look for an id.
            self._in_body = []
        self._fields = BodyFields({_STREAM, *self._in_body})

    @property
    def possible(self) -> bool:
        """Whether the POST may have an id, as far as its head tells."""
        return self._in_head is not None or bool(self._in_body)

    async def look(self, piece: bytes) -> None:
        """Look at the next piece of the body. Other tasks have turns meanwhile.

        Raises:
            Problem: 400, a member that counts came twice, with different values. The
                upstream would take the other one. A member that comes after
                ``body_fields.MAX_STEPS`` is not seen.
        """
        self._fields.feed(piece)
        done = self._fields.look()
        while not done:
            await asyncio.sleep(0)
            done = self._fields.look()
        if self._fields.twice is not None:
            raise Problem(400, f'{self._fields.twice!r} must come once in the body')

    @property
    def announced(self) -> str | None:
        """The id, once it is known and the POST asks for a stream.

        It asks by ``"stream": true`` in the body, if not by its path.

        Raises:
            InvalidConversationId: the id is not valid.
        """
        if self._fields.found.get(_STREAM, self._streamed) is not True:
            return None
        return self.conv_id(whole=False)

    def conv_id(self, whole: bool = True) -> str | None:
        """Return the id; None if there is none, or if the id is not known yet.

        Args:
            whole: whether the whole body has arrived.

        Raises:
            InvalidConversationId: the id is not valid.
        """
        for name in self._in_body:
            value = self._fields.found.get(name)
            if value is None and not (whole or self._fields.over):
                # This member may still arrive, and counts before the other places.
                return None
            if value is TooLong:
                raise InvalidConversationId(
                    f'conversation id is longer than {MAX_ID_BYTES} bytes'
                )
            if isinstance(value, str) and value:
                validate_id(value)
                return value
        return self._in_head


def _in_head(req: falcon.asgi.Request, place: IdFrom) -> str | None:
    """Return the id in this place of the head; None if the place is empty.

    Raises:
        Problem: 400, the header or the parameter comes twice, or the id is not UTF-8.
    """
    if place.kind == 'query':
        query, name = req.scope.get('query_string', b''), place.name.encode()
        if times(query, name) > 1:
            raise Problem(400, f'{place.name!r} must come once in the query')
        raw = parameter(query, name)
        what = f'{place.name!r} in the query'
    else:
        name, what = place.name.encode(), place.name
        # ASGI servers pass the bytes of headers on unchanged.
        values = [v.strip(b' \t') for n, v in req.scope['headers'] if n.lower() == name]
        if len(values) > 1:
            raise Problem(400, f'The header {what} must come once')
        raw = values[0] if values else None
    try:
        return raw.decode('utf-8') if raw else None
    except UnicodeDecodeError:
        raise Problem(400, f'{what} is not valid UTF-8') from None
