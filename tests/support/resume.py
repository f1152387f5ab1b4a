"""A reader that resumes: what every client of the service has to be."""

from __future__ import annotations

import http.client
import threading
import time

from tests.support.client import Client, path

GIVE_UP_S = 30.0


class ResumingReader:
    """Reads a stream from 0 to its end in a thread, however often it is cut off."""

    def __init__(self, client: Client, conv_id: str) -> None:
        self._client = client
        self._conv_id = conv_id
        self.body = b''
        self.workers: list[int] = []
        """The process that served each of the connections."""
        self.error: str | None = None
        self.some = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        deadline = time.monotonic() + GIVE_UP_S
        while time.monotonic() < deadline:
            try:
                if self._read_on():
                    return
            except (ConnectionError, http.client.HTTPException):
                # Nobody listens for a moment, or a worker has just gone.
                time.sleep(0.01)
        self.error = 'did not come to the end'

    def _read_on(self) -> bool:
        target = path(self._conv_id, len(self.body))
        with self._client.open('GET', target) as live:
            if live.status == 503:
                time.sleep(0.05)
                return False
            if live.status != 200:
                self.error = f'{live.status} at {len(self.body)}'
                return True
            self.workers.append(live.worker)
            for chunk in live.chunks():
                self.body += chunk
                self.some.set()
            return bool(live.whole)

    def result(self) -> bytes:
        """Wait for the end; returns the whole body."""
        self._thread.join(GIVE_UP_S + 5)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        return self.body
