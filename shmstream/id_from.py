"""Where a request says which conversation it belongs to (``SHMSTREAM_ID_FROM``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = ('header', 'body', 'query')

RESPONSE = 'response'

_MOST = 16
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_SECRETS = frozenset(
    {'api-key', 'authorization', 'cookie', 'proxy-authorization', 'x-api-key'}
)
"""Headers that hold secrets. Ids are no secrets: look-ups and addresses tell them."""

_NAME = re.compile(r'[\x21-\x7e]{1,256}')


@dataclass(frozen=True)
class IdFrom:
    """One place in a request.

    Attributes:
        kind: one of ``KINDS``: a header, a member of the JSON object in the body, or a
            parameter of the query; or ``RESPONSE``.
        name: the name of the header, in lower case, or of the member or parameter.
    """

    kind: str
    name: str


RESPONSE_ID = IdFrom(RESPONSE, 'id')
"""The id is in the answer: a POST to ``.../responses`` gets a session with an id that
nobody else has, and the session is found by its alias, the ``response.id``."""

CONVERSATION_HEADER = 'X-Conversation-Id'
CHAT_ID = IdFrom('body', 'id')
"""Where ``useChat`` has the id of its chat."""

DEFAULT = (IdFrom('header', CONVERSATION_HEADER.lower()),)


def parse_id_from(text: str) -> tuple[IdFrom, ...]:
    """Parse the setting: ``header:NAME``, ``body:FIELD``, ``query:NAME``, with commas.

    ``response:id`` is a place as well.

    Raises:
        ValueError: a place has another form, is a header that holds a secret, or there
            are more than sixteen places.
    """
    places = []
    for part in text.split(','):
        if part.strip() == 'response:id':
            places.append(RESPONSE_ID)
            continue
        kind, _, name = part.strip().partition(':')
        pattern = _HEADER if kind == 'header' else _NAME
        if kind not in KINDS or not pattern.fullmatch(name):
            raise ValueError(
                'must be header:NAME, body:FIELD, query:NAME or response:id, or several'
                f' of them by commas, not {part.strip()!r}'
            )
        if kind == 'header':
            name = name.lower()
            if name in _SECRETS:
                raise ValueError(f'must not name {name}, which holds a secret')
        places.append(IdFrom(kind, name))
    if len(places) > _MOST:
        raise ValueError(f'must name at most {_MOST} places')
    return tuple(places)
