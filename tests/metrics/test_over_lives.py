"""The sums hold over everything that ends a process, while streams are being read."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

from shmstream.metrics.reading import read
from tests.metrics.scraped import Samples, Scrape, scrape
from tests.support.client import Client
from tests.support.leaks import wait_until
from tests.support.service import Service

LONG = {'max_tokens': 400, 'tokens_per_second': 200}
SHORT = {'max_tokens': 20, 'tokens_per_second': 10_000}


class Scraper(threading.Thread):
    """Scrapes all the time, whichever worker answers; notes what goes backwards."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._stopping = threading.Event()
        self.backwards: list[Any] = []
        self.scrapes = 0
        self.last: Samples = {}

    def run(self) -> None:
        while not self._stopping.is_set():
            # A worker that is killed takes its connections with it.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._note(scrape(self._client))

    def _note(self, found: Scrape) -> None:
        self.scrapes += 1
        now = found.counters
        self.backwards += [
            (key, before, now[key])
            for key, before in self.last.items()
            if now[key] < before
        ]
        self.last = now

    def stop(self) -> None:
        self._stopping.set()
        self.join()


class Reader(threading.Thread):
    """Produces or follows one stream to its end or its cut; adds up what it got."""

    def __init__(self, client: Client, conv_id: str, asked: dict[str, Any]) -> None:
        super().__init__()
        self._client, self._conv_id, self._asked = client, conv_id, asked
        self.start()

    def run(self) -> None:
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            self._client.post(self._conv_id, self._asked) as live,
        ):
            live.rest()


def test_sums_hold_over_kills_reloads_and_recycling(
    serve: Callable[..., Service],
) -> None:
    arguments = ('--max-requests', '30', '--graceful-timeout', '5')
    service = serve(workers=2, arguments=arguments)
    client, directory = service.client(), service.directory
    scraper = Scraper(client)
    scraper.start()
    started = 0
    readers = []

    def begin(asked: dict[str, Any], number: int) -> None:
        nonlocal started
        for _ in range(number):
            started += 1
            readers.append(Reader(client, f'c-{started}', asked))

    def has(name: str, number: int) -> Callable[[], bool]:
        return lambda: read(directory).value(name) >= number

    try:
        begin(LONG, 4)
        assert wait_until(has('producers', 1))
        busy = [w.pid for w in read(directory).workers if w.producers]
        os.kill(busy[0], signal.SIGKILL)
        assert wait_until(lambda: len(service.worker_pids()) == 2)
        begin(SHORT, 4)
        assert wait_until(has('sessions_started', started))
        os.kill(service.supervisors()[0], signal.SIGKILL)
        assert wait_until(has('supervisor_restarts', 1))
        begin(LONG, 4)
        assert wait_until(has('sessions_started', started))
        pids = set(service.worker_pids())
        service.signal(signal.SIGHUP)
        assert wait_until(lambda: not pids & set(service.worker_pids()), 60)
        pids = set(service.worker_pids())
        begin(SHORT, 8)
        # The scraper's own requests have the workers recycled.
        assert wait_until(lambda: pids != set(service.worker_pids()), 60)
        for reader in readers:
            reader.join()
        assert wait_until(lambda: read(directory).value('sessions', 'live') == 0, 60)
    finally:
        scraper.stop()
    assert scraper.backwards == []
    assert scraper.scrapes > 30

    lengths = sum(
        found['total_bytes']
        for found in client.lookup(*(f'c-{n + 1}' for n in range(started)))
    )
    assert wait_until(lambda: read(directory).value('bytes', 'in') >= lengths)
    reading = read(directory)
    assert reading.value('bytes', 'in') == lengths
    assert reading.value('sessions_started') == reading.value('sessions_ended')
    assert reading.value('sessions_ended', 'aborted') >= 1, 'of the killed worker'
    assert wait_until(lambda: read(directory).value('producers') == 0)
    assert wait_until(lambda: read(directory).value('followers') == 0)
    assert len(reading.workers) <= 4
    plain = client.get('/metrics')
    assert plain.body.startswith(b'# HELP shmstream_build_info')
