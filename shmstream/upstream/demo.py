"""The demo model: it answers in five dialects, so that there is something to resume.

It is not a language model, and says so in its answers. It counts, so that a reader sees
at a glance that nothing is lost, doubled or torn.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

from shmstream.upstream.demo_events import MODEL, Format
from shmstream.upstream.demo_formats import FORMATS
from shmstream.upstream.source import (
    Answer,
    Headers,
    OpenSocket,
    UpstreamRefused,
    UpstreamRequest,
)

DEFAULT_TOKENS = 600
MAX_TOKENS = 1_000_000
MAX_RATE = 100_000.0

OPENING = (
    'I am the demo model of shmstream, not a language model: I count, so that you can'
    ' see that nothing is lost when you reload this page, lose the network or restart'
    ' a worker.'
)
"""How each answer begins. After it the model counts from 1."""


def _words() -> Iterator[str]:
    yield from (word + ' ' for word in OPENING.split())
    for number in itertools.count(1):
        yield f'{number} '


class DemoAnswer:
    """An answer of the demo model."""

    def __init__(
        self, status: int, content_type: str, body: AsyncIterator[bytes] | bytes
    ) -> None:
        self.status = status
        self.headers: Headers = [('Content-Type', content_type)]
        self.framed = True
        if isinstance(body, bytes):
            self.headers.append(('Content-Length', str(len(body))))
        self._body = body

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        if isinstance(self._body, bytes):
            yield self._body
        else:
            async for chunk in self._body:
                yield chunk

    def close(self) -> None:
        """Nothing to let go of."""


class DemoModel:
    """Answers requests for the paths of ``demo_formats`` and for ``/v1/models`` only.

    Args:
        rate: tokens per second, unless a request says ``tokens_per_second``.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Nothing to close."""

    async def send(self, request: UpstreamRequest) -> Answer:
        """Answer the request; see ``Source``."""
        path = request.target.partition('?')[0].removeprefix('/v1')
        if path == '/models' and request.method in ('GET', 'HEAD'):
            return _json(200, _MODELS)
        kind = FORMATS.get(path)
        if kind is None:
            return _error(404, f'the demo model has no {path}', 'not_found_error')
        if request.method != 'POST':
            return _error(405, 'use POST', 'invalid_request_error')
        try:
            asked = json.loads(await _whole(request.body))
            if not isinstance(asked, dict):
                raise ValueError('not a JSON object')
            if kind.lists and not isinstance(asked.get(kind.lists), list):
                raise ValueError(f'{kind.lists} must be a list')
            tokens = _tokens(asked, kind)
            rate = asked.get('tokens_per_second')
            rate = _number(rate, self._rate, 0.1, MAX_RATE, 'tokens_per_second')
        except (ValueError, RecursionError) as ex:
            return _error(400, f'invalid body: {ex}', 'invalid_request_error')
        if asked.get('stream', kind.streams):
            return DemoAnswer(200, kind.content_type, _stream(kind(), tokens, rate))
        await asyncio.sleep(min(tokens / rate, 600))
        text = ''.join(itertools.islice(_words(), tokens))
        return _json(200, kind().whole(text, tokens))

    async def web_socket(
        self, request: UpstreamRequest, protocols: list[str], max_message: int
    ) -> OpenSocket:
        """Refuse the WebSocket; see ``Source``."""
        raise UpstreamRefused(404)


def _tokens(asked: dict[str, Any], kind: type[Format]) -> int:
    # Ollama's requests have these members in ``options``.
    options = asked.get('options')
    places = asked | options if isinstance(options, dict) else asked
    for name in kind.limits:
        if places.get(name) is not None:
            return int(_number(places[name], 0, 1, MAX_TOKENS, name))
    return DEFAULT_TOKENS


async def _whole(body: bytes | AsyncIterator[bytes] | None) -> bytes:
    if body is None or isinstance(body, bytes):
        return body or b''
    whole = bytearray()
    async for chunk in body:
        whole += chunk
        if len(whole) > 1 << 20:
            raise ValueError('more than 1 MiB')
    return bytes(whole)


def _number(value: Any, default: float, least: float, most: float, what: str) -> float:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f'{what} must be a number')
    if not least <= value <= most:
        raise ValueError(f'{what} must be {least:g} to {most:g}')
    return float(value)


async def _stream(answer: Format, tokens: int, rate: float) -> AsyncIterator[bytes]:
    if opening := answer.opening():
        yield opening
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, word in enumerate(itertools.islice(_words(), tokens)):
        # Each word has a time counted from the beginning, so that errors of ``sleep``
        # do not add up.
        ahead = began + number / rate - loop.time()
        if ahead > 0:
            await asyncio.sleep(ahead)
        elif number % 64 == 0:
            await asyncio.sleep(0)
        yield answer.word(word)
    yield answer.closing()


_MODELS = {
    'object': 'list',
    'data': [{'id': MODEL, 'object': 'model', 'created': 0, 'owned_by': 'shmstream'}],
}


def _json(status: int, body: object) -> DemoAnswer:
    return DemoAnswer(status, 'application/json', json.dumps(body).encode())


def _error(status: int, message: str, kind: str) -> DemoAnswer:
    error = {'code': status, 'message': message, 'type': kind}
    body = json.dumps({'error': error}).encode()
    return DemoAnswer(status, 'application/json; charset=utf-8', body)
