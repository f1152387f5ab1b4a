"""The application: ``shmstream.http.app:create_app()``."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

from shmstream import lifecycle
from shmstream.errors import ShmstreamError
from shmstream.http import errors
from shmstream.http.access import Access, AccessMiddleware, CorsMiddleware
from shmstream.http.drain import Drain
from shmstream.http.front import Front, Shortcut
from shmstream.http.generation import Generations
from shmstream.http.health import HealthResource
from shmstream.http.lookup import LookupResource
from shmstream.http.openapi import OpenApiResource
from shmstream.http.page import PageResource
from shmstream.http.producing import Gateway
from shmstream.http.reading import StreamResource
from shmstream.http.stalled import Readers
from shmstream.http.uploads import Uploads
from shmstream.settings import Settings
from shmstream.streams import Streams
from shmstream.upstream.demo import DemoModel
from shmstream.upstream.source import Source

log = logging.getLogger('shmstream.http')


class Lifespan:
    """What is opened when a worker starts, and closed when it stops."""

    def __init__(
        self,
        streams: Streams,
        source: Source,
        drain: Drain,
    ) -> None:
        self._streams = streams
        self._source = source
        self._drain = drain

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        """Connect, so that no request has to."""
        lifecycle.current.hear_signals()
        try:
            await asyncio.to_thread(self._streams.connect)
        except (ShmstreamError, OSError) as ex:
            # Not a reason to fail: that would stop all of gunicorn. Requests try again.
            log.error('%s', ex)
        await self._source.open()
        self._drain.start()
        # What is there by now stays: no collection need go through it again.
        gc.collect()
        gc.freeze()

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        """Let the generations run on, then leave."""
        await self._drain.finish()
        await self._source.close()
        await asyncio.to_thread(self._streams.close)


def create_app(
    settings: Settings | None = None,
) -> Front:
    """Return the ASGI application. Opens nothing before its lifespan starts.

    Args:
        settings: default: from the environment.

    Raises:
        SettingsError: a variable has a value that cannot be used.
    """
    settings = Settings.from_environment() if settings is None else settings
    # Under gunicorn the hooks have started a supervisor; elsewhere nobody has.
    life, config = lifecycle.current, settings.supervisor()
    streams = Streams.attach(settings.dir, supervise=config, host=life)
    source = _source(settings)
    generations = Generations()
    drain = Drain(
        generations, lifecycle.current, settings.drain, lambda: streams.followers
    )
    lifespan = Lifespan(streams, source, drain)
    access = Access(settings.api_keys)
    cors = CorsMiddleware(settings.cors_origins)
    middleware: list[Any] = [lifespan, cors, AccessMiddleware(access)]
    app = Front(Readers(settings.send_timeout), middleware=middleware)
    if not settings.api_keys and not settings.cors_origins:
        app.shortcut = Shortcut(streams)
    # Otherwise an upstream's answer without a type would be given one.
    app.resp_options.default_media_type = None  # type: ignore[assignment]
    errors.install(app)

    share = settings.owner_share if settings.several_owners else None
    uploads = Uploads(settings.max_uploads, share, settings.send_timeout)
    stream = StreamResource(streams)
    app.add_route('/v1/stream', stream)
    app.add_route('/v1/stream/{conv_id:path}', stream)
    app.add_route('/v1/streams/lookup', LookupResource(streams, uploads))
    app.add_route('/healthz', HealthResource(streams))
    page = PageResource()
    app.add_route('/_shmstream/', page)
    app.add_route('/_shmstream/openapi.json', OpenApiResource())
    if settings.upstream is None:
        app.add_route('/', page)
    gateway = Gateway(streams, source, settings, generations, access, uploads)
    app.add_sink(gateway, '/')
    return app


def _source(settings: Settings) -> Source:
    if settings.upstream is None:
        return DemoModel(settings.demo_rate)
    # aiohttp takes a while to import, and the demo does without it.
    from shmstream.upstream.proxied import Upstream

    return Upstream(settings)
