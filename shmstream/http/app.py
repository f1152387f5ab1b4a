"""The application: ``shmstream.http.app:create_app()``."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import falcon.asgi

from shmstream.asgi.stalled import Readers
from shmstream.deploy import worker_life
from shmstream.deploy.other_workers import OtherWorkers
from shmstream.deploy.service_needs import unmet
from shmstream.deploy.worker_life import WorkerLife
from shmstream.errors import ShmstreamError
from shmstream.host_names import HostNames
from shmstream.http import error_handlers, health
from shmstream.http.api_keys import ApiKeys
from shmstream.http.chat_stop import ChatStop
from shmstream.http.demo_routes import DemoResource
from shmstream.http.drain import Drain
from shmstream.http.falcon_request import FalconRequest
from shmstream.http.gate import Gate
from shmstream.http.lookup_route import LookupResource
from shmstream.http.metrics_route import MetricsResource
from shmstream.http.middleware import (
    KeysMiddleware,
    OriginsMiddleware,
    PrefixMiddleware,
)
from shmstream.http.openapi import OpenApiResource
from shmstream.http.origins import Origins
from shmstream.http.page import static
from shmstream.http.producing import OWN_HEADERS, Gateway
from shmstream.http.responses_route import PATHS, ResponsesSink
from shmstream.http.service import Service
from shmstream.http.sessions_route import SessionsResource
from shmstream.http.uploads import Uploads
from shmstream.http.websockets import WebSockets
from shmstream.internals import counts_of
from shmstream.serving.get_head_delete import Core
from shmstream.serving.responses import Responses
from shmstream.settings import Settings
from shmstream.streams import Streams
from shmstream.upstream.demo import DemoModel
from shmstream.upstream.source import Source

log = logging.getLogger('shmstream.http')


class Lifespan:
    """Opens what a worker needs when it starts, and closes it when it stops."""

    def __init__(
        self,
        life: WorkerLife,
        streams: Streams,
        source: Source,
        drain: Drain,
        web_sockets: WebSockets,
    ) -> None:
        self._life = life
        self._streams = streams
        self._source = source
        self._drain = drain
        self._web_sockets = web_sockets

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        """Connect to the supervisor, so that the first request need not."""
        self._life.hear_signals()
        try:
            await asyncio.to_thread(self._streams.connect)
        except (ShmstreamError, OSError) as ex:
            # The worker goes on all the same: a failed startup would stop all of
            # gunicorn, and each request tries to connect again.
            log.error('%s', ex)
        await self._source.open()
        self._drain.start()
        # The objects that exist by now stay for ever, so the garbage collector need not
        # look at them again.
        gc.collect()
        gc.freeze()

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        """Let the answer tasks run to their end, then leave."""
        await self._drain.finish()
        await self._web_sockets.leave()
        await self._source.close()
        await asyncio.to_thread(self._streams.close)


def create_app(
    settings: Settings | None = None,
) -> Service:
    """Return the ASGI application. Opens nothing before its lifespan starts.

    Args:
        settings: by default those of the environment.

    Raises:
        SettingsError: a variable has a value that cannot be used.
        SystemExit: an upstream is configured, and aiohttp is too old for it.
    """
    settings = Settings.from_environment() if settings is None else settings
    # Under gunicorn the hooks have started a supervisor. Under other servers the first
    # process that attaches starts one.
    life, config = worker_life.current, settings.supervisor()
    streams = Streams.attach(settings.dir, supervise=config, host=life)
    source = _source(settings, streams)
    keys = ApiKeys(settings.api_keys)
    origins = Origins(settings.cors_origins)
    readers = Readers(settings.send_timeout)
    web_sockets = WebSockets(source, keys, readers, settings.send_timeout, OWN_HEADERS)
    drain = Drain(
        life,
        settings.drain,
        lambda: streams.followers,
        web_sockets.let_go,
    )
    lifespan = Lifespan(life, streams, source, drain, web_sockets)
    pages = static(root=settings.upstream is None)
    middleware: list[Any] = [
        lifespan,
        OriginsMiddleware(origins),
        KeysMiddleware(keys, without=frozenset({*health.PATHS, *pages})),
        PrefixMiddleware(),
    ]
    app: falcon.asgi.App[FalconRequest, falcon.asgi.Response] = falcon.asgi.App(
        request_type=FalconRequest, middleware=middleware
    )
    # Otherwise Falcon would add a content type to an upstream's answer without one.
    app.resp_options.default_media_type = None  # type: ignore[assignment]
    error_handlers.install(app, streams)

    share = settings.owner_share if settings.several_owners else None
    uploads = Uploads(settings.max_uploads, share, settings.send_timeout)
    app.add_route('/v1/streams/lookup', LookupResource(streams, uploads))
    metrics = MetricsResource(settings.dir)
    app.add_route('/_shmstream/metrics', metrics)
    if settings.upstream is None:
        # An upstream may have metrics of its own there.
        app.add_route('/metrics', metrics)
    healths = health.HealthResource(streams, life)
    app.add_route(health.HEALTH, healths)
    app.add_route(health.LIVE, healths, suffix='live')
    app.add_route(health.READY, healths, suffix='ready')
    for path, resource in pages.items():
        app.add_route(path, resource)
    app.add_route('/_shmstream/openapi.json', OpenApiResource(settings.chat))
    app.add_route('/_shmstream/sessions', SessionsResource(streams, keys.restricted))
    demo = DemoResource(OtherWorkers(life), demo=settings.upstream is None)
    app.add_route('/_shmstream/demo', demo)
    app.add_route('/_shmstream/demo/restart', demo, suffix='restart')
    app.add_route('/_shmstream/demo/kill', demo, suffix='kill')
    core = Core(streams)
    gateway = Gateway(streams, core, source, settings, keys, uploads)
    app.add_sink(gateway, '/')
    app.add_sink(ResponsesSink(Responses(streams, core), gateway), PATHS)
    for path in reversed(settings.chat):
        # Of two sinks that fit, Falcon takes the one that was added last.
        stop = ChatStop(path, core, uploads, gateway)
        app.add_sink(stop, stop.pattern)
    gate = Gate(HostNames(settings.hosts), origins)
    return Service(
        core,
        keys,
        origins,
        readers,
        life.hear_word,
        gate,
        app,
        web_sockets,
        settings.chat,
        lambda: counts_of(streams),
    )


def _source(settings: Settings, streams: Streams) -> Source:
    if settings.upstream is None:
        return DemoModel(settings.demo_rate)
    line = unmet(('aiohttp',))
    if line is not None:
        # gunicorn's hooks have checked this before. Other servers show this line.
        raise SystemExit(f'shmstream: {line}')
    # Imported here, because aiohttp takes long to import and the demo does not use it.
    from shmstream.upstream.connections import Upstream

    return Upstream(settings, lambda: counts_of(streams))
