"""``GET /_shmstream/metrics``: the numbers of the whole deployment, by any worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import falcon.asgi
from falcon import mediatypes

from shmstream.errors import LayoutMismatch, SupervisorUnavailable
from shmstream.metrics import exposition
from shmstream.metrics.reading import Reading, read
from shmstream.serving.problems import JSON, RETRY_S, Problem

_FORMATS: tuple[tuple[str, str, Callable[[Reading], bytes]], ...] = (
    ('text/plain; version=0.0.4', exposition.PROMETHEUS_TYPE, exposition.prometheus),
    (
        'application/openmetrics-text; version=1.0.0',
        *(exposition.OPENMETRICS_TYPE, exposition.openmetrics),
    ),
    ('application/json', JSON, exposition.to_json),
)
"""What ``Accept`` names, the type of the answer, and who writes it. The first one is
sent to whoever does not mind."""


class MetricsResource:
    """Serves the numbers of a runtime directory.

    Args:
        directory: the runtime directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response
    ) -> None:
        """Answer in the format that the client likes best."""
        content_type, write = _best(req.accept)
        try:
            # In a thread, because files are opened. It takes under a millisecond,
            # however many sessions there are.
            data = await asyncio.to_thread(lambda: write(read(self._directory)))
        except (SupervisorUnavailable, LayoutMismatch, OSError) as ex:
            raise Problem(503, f'no metrics: {ex}', RETRY_S) from ex
        resp.content_type = content_type
        resp.set_header('Cache-Control', 'no-store')
        resp.set_header('Vary', 'Accept')
        resp.data = data

    on_head = on_get


def _best(accept: str) -> tuple[str, Callable[[Reading], bytes]]:
    best, found = 0.0, _FORMATS[0]
    for entry in _FORMATS:
        try:
            quality = mediatypes.quality(entry[0], accept)
        except ValueError:
            # The header is malformed.
            break
        if quality > best:
            best, found = quality, entry
    return found[1:]
