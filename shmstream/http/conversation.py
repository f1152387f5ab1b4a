"""Which conversation a POST belongs to, and whether it asks for a stream.

An id in the request's head is known at once; one in the body, and ``"stream": true``,
when they have come. Of several places the first one counts in which an id is found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import falcon.asgi

from shmstream.errors import InvalidConversationId
from shmstream.http.body_fields import BodyFields, TooLong
from shmstream.id_from import IdFrom
from shmstream.ids import MAX_ID_BYTES, validate_id
from shmstream.serving.problems import Problem
from shmstream.serving.request import parameter

_STREAM = 'stream'


class Conversation:
    """What one POST says of it.

    Args:
        req: the request, of which nothing but the head is looked at here.
        places: where its id may be.

    Raises:
        Problem: 400, an id in its head is said twice, or is not UTF-8.
        InvalidConversationId: an id in its head can be none.
    """

    def __init__(self, req: falcon.asgi.Request, places: Sequence[IdFrom]) -> None:
        self._in_head: str | None = None
        self._in_body: list[str] = []
        for place in places:
            if place.kind == 'body':
                self._in_body.append(place.name)
            elif (found := _in_head(req, place)) is not None:
                validate_id(found)
                self._in_head = found
                break
        kind = (req.content_type or '').partition(';')[0].lower()
        if self._in_head is None and not kind.rstrip().endswith('json'):
            # What is uploaded otherwise is not held to look for an id in it.
            self._in_body = []
        self._fields = BodyFields({_STREAM, *self._in_body})

    @property
    def possible(self) -> bool:
        """Whether it may have an id, as far as its head tells."""
        return self._in_head is not None or bool(self._in_body)

    async def look(self, piece: bytes) -> None:
        """Look at the next piece of the body; others have their turns meanwhile."""
        self._fields.feed(piece)
        done = self._fields.look()
        while not done:
            await asyncio.sleep(0)
            done = self._fields.look()

    @property
    def announced(self) -> str | None:
        """The id, once it is known and the body has said ``"stream": true``.

        Raises:
            InvalidConversationId: what is there can be none.
        """
        if self._fields.found.get(_STREAM) is not True:
            return None
        return self.conv_id(whole=False)

    def conv_id(self, whole: bool = True) -> str | None:
        """Return the id; None if there is none, or it is not known yet.

        Args:
            whole: whether the body has come to its end.

        Raises:
            InvalidConversationId: what is there can be none.
        """
        for name in self._in_body:
            value = self._fields.found.get(name)
            if value is None and not (whole or self._fields.over):
                # It may still come, and counts for more than what is in other places.
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
    """Return the id that is in the head in this place; None if it is empty.

    Raises:
        Problem: 400.
    """
    if place.kind == 'query':
        raw = parameter(req.scope.get('query_string', b''), place.name.encode())
        what = f'{place.name!r} in the query'
    else:
        name, what = place.name.encode(), place.name
        # ASGI servers hand header bytes on as they came.
        values = [v.strip(b' \t') for n, v in req.scope['headers'] if n.lower() == name]
        if len(values) > 1:
            raise Problem(400, f'The header {what} must come once')
        raw = values[0] if values else None
    try:
        return raw.decode('utf-8') if raw else None
    except UnicodeDecodeError:
        raise Problem(400, f'{what} is not valid UTF-8') from None
