"""Reads a stream in a thread, over any number of connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Self

from shmstream.client.events import Event, parsed
from shmstream.client.exchange import Answer, Lost, Open, error_body
from shmstream.client.progress import Progress
from shmstream.client.resumption import Resumption
from shmstream.dialects.framing import Framing
from shmstream.errors import LocalError


class Following(Progress):
    """A stream that is being read. ``follow`` makes it; use it in a ``with`` block.

    It connects at the first step. ``raw``, ``events`` and ``json`` iterate over the
    same stream: each goes on where the one before has stopped. One thread may iterate
    at a time; any thread may call ``stop`` and ``close``.

    Raises (from the iterations):
        OffsetLost: the ring has dropped bytes that were not delivered yet.
        StreamNotFound: the stream is unknown, has expired or was removed.
        StreamReplaced: the conversation has a newer stream.
        StreamFailed: the stream has failed. Only a stream without events ends like
            this; all others tell it by their last event.
        Unreachable: there were only failures, for ``Limits.patience_s``.
        NotResumable: the connection was lost, and the rest cannot be asked for.
        Refused: the service or the upstream has answered with another error.
        EventTooLong: an event is longer than ``Limits.event_bytes``.
        LocalError: a stream without events was asked for its events.

    Example::

        with follow('http://127.0.0.1:8000/v1/stream/chat-1') as stream:
            for event in stream:
                print(stream.offset, event.data)
        print(stream.state.label, stream.resumes)
    """

    def __init__(self, resumption: Resumption, opening: Open) -> None:
        super().__init__(resumption)
        self._open = opening
        self._answer: Answer | None = None
        self._wait_s = 0.0
        self._closed = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether an answer is being read."""
        return self._answer is not None

    def raw(self) -> Iterator[bytes]:
        """Iterate over the stream's bytes, whole events at a time."""
        while self._until_ready():
            yield self._resumption.events.take_all()

    def raw_events(self) -> Iterator[bytes]:
        """Iterate over the stream's bytes, one event at a time.

        ``offset`` is then exact after each event. A stream without events comes as it
        arrives.
        """
        while self._until_ready():
            yield self._resumption.events.take()

    def events(self) -> Iterator[Event]:
        """Iterate over the stream's events, or over its JSON lines."""
        while self._until_ready():
            events = self._resumption.events
            if events.framing is Framing.OPAQUE:
                raise LocalError('this stream has no events: iterate over raw()')
            if (event := parsed(events.take(), events.framing)) is not None:
                yield event

    def __iter__(self) -> Iterator[Event]:
        """The same as ``events``."""
        return self.events()

    def json(self) -> Iterator[Any]:
        """Iterate over the parsed data of the events, but for ``[DONE]``.

        Raises:
            ValueError: the data of an event is not JSON. The next step goes on after
                this event.
        """
        for event in self.events():
            if not event.is_end_mark:
                yield event.json()

    def stop(self) -> None:
        """Stop the stream for everybody, and remove it. Blocks until that is done.

        A newer stream of the same conversation is not touched. The iteration goes on to
        the stream's last words, and ends.

        Raises:
            Refused: the service has refused it.
            Unreachable: no attempt was answered, for ``Limits.patience_s``.
        """
        stop = self._resumption.stop()
        wait_s = 1.0
        while wait_s:
            try:
                answer = self._open(stop.asked)
            except Lost as ex:
                wait_s = stop.failed(ex)
            else:
                try:
                    body = error_body(answer)
                    wait_s = stop.answered(answer.status, answer.headers, body)
                finally:
                    answer.close()
            if wait_s and self._closed.wait(wait_s):
                break

    def close(self) -> None:
        """Hang up. The stream goes on without this reader, and the iteration ends."""
        self._closed.set()
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until_ready(self) -> bool:
        """Read until something can be delivered; False at the end."""
        resumption = self._resumption
        while not self._closed.is_set():
            if resumption.events.ready:
                return True
            if resumption.over:
                return False
            self._step()
        return False

    def _step(self) -> None:
        if self._wait_s:
            # ``close`` ends the wait.
            self._closed.wait(self._wait_s)
            self._wait_s = 0.0
        elif self._answer is None:
            self._ask()
        else:
            self._read(self._answer)

    def _ask(self) -> None:
        resumption = self._resumption
        try:
            answer = self._open(resumption.request())
        except Lost as ex:
            self._wait_s = resumption.not_answered(ex)
            return
        self._answer = answer
        try:
            if not resumption.answered(answer.status, answer.headers):
                status, headers, body = (
                    answer.status,
                    answer.headers,
                    error_body(answer),
                )
                self._hang_up()
                self._wait_s = resumption.refused(status, headers, body)
        except BaseException:
            self._hang_up()
            raise
        if self._closed.is_set():
            # ``close`` came before there was anything to close.
            self._hang_up()

    def _read(self, answer: Answer) -> None:
        resumption = self._resumption
        try:
            data = answer.read()
        except Lost as ex:
            self._hang_up()
            if not self._closed.is_set():
                self._wait_s = resumption.ended(ex)
            return
        if not data:
            self._hang_up()
            self._wait_s = resumption.ended(None)
            return
        try:
            resumption.received(data)
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()
