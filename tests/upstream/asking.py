"""The way upstream without a service around it: one event loop, real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shmstream.settings import Settings
from shmstream.upstream.connections import Upstream
from shmstream.upstream.source import Answer, UpstreamRequest

T = TypeVar('T')


def with_upstream(
    url: str, work: Callable[[Upstream], Awaitable[T]], **settings: str
) -> T:
    """Run this with the upstream at a URL; returns what it returns.

    Args:
        url: of the upstream.
        work: what is done.
        settings: ``SHMSTREAM_*``; or other variables, in lower case.
    """
    environ = {k: v for k, v in os.environ.items() if 'proxy' not in k.lower()}
    environ['SHMSTREAM_UPSTREAM'] = url
    for name, value in settings.items():
        environ[f'SHMSTREAM_{name}' if name.isupper() else name] = value

    async def run() -> T:
        upstream = Upstream(Settings.from_environment(environ))
        await upstream.open()
        try:
            async with asyncio.timeout(30):
                return await work(upstream)
        finally:
            await upstream.close()

    return asyncio.run(run())


async def read(answer: Answer) -> bytes:
    """The whole body of an answer, which is closed then."""
    try:
        return b''.join([chunk async for chunk in answer.chunks()])
    finally:
        answer.close()


async def asked(
    upstream: Upstream,
    method: str = 'POST',
    target: str = '/v1/x',
    body: object = b'{}',
    headers: list[tuple[str, str]] | None = None,
) -> bytes:
    """Send a request, and return the body of its answer."""
    request = UpstreamRequest(method, target, headers or [], body)  # type: ignore[arg-type]
    return await read(await upstream.send(request))
