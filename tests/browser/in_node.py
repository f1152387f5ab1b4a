"""Reads with ``shmstream.js`` in Node.js, step by step, as ``tests.client.reading``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from shmstream import OffsetLost, State, StreamNotFound, StreamReplaced
from shmstream.client import (
    Event,
    EventTooLong,
    Limits,
    NotResumable,
    Refused,
    StreamFailed,
    Unreachable,
)
from tests.client.reading import InThread
from tests.support.node import Script

_SHAPES = {'raw': 'bytes', 'events': 'events', 'json': 'json'}
_STATES = {state.label: state for state in State} | {
    'connecting': State.PENDING,
    'streaming': State.LIVE,
    'waiting': State.LIVE,
}


class Followed:
    """What the script says of its stream after each step."""

    connected = False
    """A script cannot tell; Node.js hangs up with the end of the body."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    @property
    def offset(self) -> int:
        """Bytes up to the end of what was yielded last."""
        offset: int = self.said['offset']
        return offset

    @property
    def state(self) -> State:
        """In the words of the Python client."""
        return _STATES[self.said['state']]

    @property
    def generation(self) -> str | None:
        """The stream's generation."""
        generation: str | None = self.said['generation']
        return generation

    @property
    def resumes(self) -> int:
        """How often it has gone on after a loss."""
        return len(self.said['resumes'])


class InNode(InThread):
    """A ``Resumable``, with the steps that tests need, and the Python client's errors.

    Args:
        url: of a stream, or of a POST if there is ``json``.
        json: the body of the POST.
        conversation_id: its id.
        offset: the first byte that is wanted.
        generation: the generation that is wanted.
        limits: only how long it is patient.
        options: of ``resumable``.
    """

    def __init__(
        self,
        url: str,
        *,
        json: Any = None,
        conversation_id: str | None = None,
        offset: int = 0,
        generation: str | None = None,
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        given: dict[str, Any] = {
            'from': offset,
            'id': conversation_id,
            'generation': generation,
        }
        if limits is not None:
            given['patience'] = limits.patience_s
        options |= {name: value for name, value in given.items() if value is not None}
        post = None if json is None else [url, _post(json)]
        self.following: Any = Followed()
        self._script = Script('resumable.js', post or url, options)

    def call(self, *call: Any) -> dict[str, Any]:
        """Have the script do something; return what it says then.

        Raises:
            ShmstreamError: what the module has thrown, as the Python client raises it.
        """
        self._script.say(call)
        said = self.following.said = self._script.hear()
        if 'error' in said:
            raise _error(said['error'], self.following.offset)
        found: dict[str, Any] = said
        return found

    def each(self, shape: str) -> Iterator[Any]:
        while not (step := self.call('next', _SHAPES[shape]))['done']:
            value = step['value']
            if shape == 'raw':
                yield value.encode('latin-1')
            else:
                yield value if shape == 'json' else Event(**value)

    def stop(self) -> None:
        self.call('stop')

    def close(self) -> None:
        self._script.say(['bye'])
        self._script.__exit__(None)


def _post(body: Any) -> dict[str, Any]:
    headers = {'Content-Type': 'application/json'}
    return {'method': 'POST', 'headers': headers, 'body': json.dumps(body)}


def _error(error: dict[str, Any], offset: int) -> Exception:
    text = error['message']
    match error['code']:
        case 'lost':
            return OffsetLost(offset, error['dropped_prefix'], error['total_bytes'])
        case 'gone':
            return StreamNotFound(text)
        case 'replaced':
            return StreamReplaced(error['generation'])
        case 'not-resumable':
            return NotResumable(text)
        case 'unreachable':
            return Unreachable(offset, text)
        case 'refused':
            return Refused(error['status'], text)
        case 'failed':
            return StreamFailed(text)
        case 'too-long':
            return EventTooLong(text)
    raise AssertionError(f'the module has a defect: {error}')
