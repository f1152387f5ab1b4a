"""Encodes one item of a source: as JSON, or as a server-sent event."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from shmstream.producing.failures import NotEncodable
from shmstream.producing.sse_event import SseEvent

_LINE_END = re.compile('\r\n|\r|\n')


def json_of(item: object, *, nulls: bool = True) -> bytes:
    """Return an item as JSON, in UTF-8 and without a line end.

    Args:
        item: what ``json`` can encode, a dataclass, or an object that encodes itself
            (``model_dump_json`` of pydantic; ``to_json`` of the clients of OpenAI and
            Anthropic, which gives what came over the wire).
        nulls: whether members of a model that have no value are sent as ``null``.

    Raises:
        NotEncodable: the item cannot be said in JSON.
    """
    try:
        text = _own_json(item, nulls)
        if text is None:
            text = _dumped(item)
        return text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as some models emit: only an escape can say it.
        return json.dumps(item, default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as ex:
        kind = type(item).__name__
        raise NotEncodable(f'the source yielded a {kind} that is no JSON: {ex}') from ex


def _own_json(item: object, nulls: bool) -> str | None:
    dump: Any = getattr(item, 'model_dump_json', None)
    if dump is None or isinstance(item, type):
        return None
    # Their ``model_dump_json`` would add a null for every member that did not come.
    to_json: Any = getattr(item, 'to_json', None)
    text: str = (
        to_json(indent=None)
        if to_json is not None
        else dump(by_alias=True, exclude_none=not nulls)
    )
    return text


def _dumped(item: object) -> str:
    return json.dumps(
        item,
        ensure_ascii=False,
        separators=(',', ':'),
        allow_nan=False,
        default=_plain,
    )


def _plain(item: object) -> Any:
    """Return a part of an item in a form that ``json`` knows."""
    if isinstance(item, SseEvent):
        raise TypeError('only the format sse has events with names and ids')
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
    own = _own_json(item, nulls=True)
    if own is not None:
        return json.loads(own)
    raise TypeError(f'{type(item).__name__} is not JSON')


def sse_of(item: object) -> bytes:
    """Return an item as a server-sent event; a text becomes the event's data.

    Raises:
        NotEncodable: the item is neither a text, nor an ``SseEvent``, nor JSON.
    """
    if not isinstance(item, SseEvent):
        return _data_of(item) + b'\n'
    head = ''
    if item.name:
        head += f'event: {item.name}\n'
    if item.retry_ms is not None:
        head += f'retry: {item.retry_ms}\n'
    # The id comes after the data: some clients take an id at its line, and would take
    # the id of an event that is cut off after it.
    tail = f'id: {item.id}\n' if item.id else ''
    return utf8(head) + _data_of(item.data) + utf8(tail) + b'\n'


def _data_of(data: object) -> bytes:
    if not isinstance(data, str):
        return b'data: %s\n' % json_of(data)
    if '\n' not in data and '\r' not in data:
        return b'data: %s\n' % utf8(data)
    return b''.join(b'data: %s\n' % utf8(line) for line in _LINE_END.split(data))


def utf8(text: str) -> bytes:
    """Return a text in UTF-8.

    Raises:
        NotEncodable: the text holds half of a surrogate pair.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as ex:
        raise NotEncodable(f'the source yielded a text that is not UTF-8: {ex}') from ex
