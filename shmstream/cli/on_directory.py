"""A runtime directory as the place where a command looks: all streams of all owners.

Nothing here joins the deployment: what is shown is read from files, and what is done
is asked of the supervisor by one request.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from shmstream.cli.outcome import NO_DEPLOYMENT, Failure
from shmstream.cli.place import Count, End
from shmstream.cli.words import counted
from shmstream.errors import StreamNotFound, SupervisorUnavailable
from shmstream.inspection import asking
from shmstream.inspection.reading import Lost, Tail, open_tail
from shmstream.inspection.sessions import all_sessions, kept_headers, require, slots_of
from shmstream.memory.directory import RuntimeDirectory
from shmstream.memory.session_facts import SessionFacts, file_name
from shmstream.metrics.reading import Reading, read
from shmstream.ring.state import State

_ASK_WHO_LIVES_S = 1.0
"""Seconds between two questions whether a silent stream has anybody left."""


class OnDirectory:
    """The streams of a runtime directory (``place.Place``).

    Args:
        directory: the runtime directory.
    """

    has_owners = True

    def __init__(self, directory: RuntimeDirectory) -> None:
        self._directory = directory
        self._damaged: list[tuple[str, str]] = []
        self.name = str(directory.path)

    def sessions(self, count: Count) -> list[SessionFacts]:
        """Return all sessions; needs no supervisor."""
        listing = all_sessions(self._directory, count)
        self._damaged = listing.damaged
        return listing.found

    def named(self, conv_id: str) -> list[SessionFacts]:
        """Return the sessions with this id, of all owners."""
        found = self.sessions(lambda _: None)
        return [facts for facts in found if facts['conversation_id'] == conv_id]

    def more(self, session: SessionFacts) -> dict[str, Any]:
        """Return the headers that replays have, and the file."""
        name = file_name(session)
        lines = kept_headers(self._directory, name)
        return {'headers': lines, 'file': str(self._directory.segment(name))}

    def stop(self, session: SessionFacts, evict: bool) -> str:
        """Ask the supervisor to stop it."""
        try:
            there = asking.stop(
                self._directory,
                bytes.fromhex(session['owner']),
                session['conversation_id'],
                session['generation'],
                evict=evict,
            )
        except SupervisorUnavailable as ex:
            raise Failure(
                f'{ex}; only a supervisor can stop streams', NO_DEPLOYMENT
            ) from ex
        if not there:
            return 'gone'
        return 'evicted' if evict else 'stopped'

    def tail(self, session: SessionFacts) -> _Following:
        """Map the stream, for reading only."""
        tail = open_tail(self._directory, file_name(session))
        if tail.generation != session['generation']:
            raise StreamNotFound('stream not found or expired')
        return _Following(self._directory, tail)

    def reading(self) -> Reading:
        """Return the numbers of the deployment; needs no supervisor."""
        require(self._directory)
        return read(self._directory.path)

    def warnings(self) -> list[str]:
        """Say if nobody runs here, or if files could not be read."""
        found = []
        if not asking.answers(self._directory):
            if slots_of(self._directory):
                found.append(f'{self.name} has no supervisor now')
            else:
                found.append(
                    f'nothing runs in {self.name}: a deployment that has died has left'
                    ' these streams; see shmstream clean'
                )
        if self._damaged:
            name, why = self._damaged[0]
            files = counted(len(self._damaged), 'file')
            found.append(f'{files} cannot be read, such as {name}: {why}')
        return found


class _Following:
    """A stream that is read from its file."""

    def __init__(self, directory: RuntimeDirectory, tail: Tail) -> None:
        self._directory = directory
        self._tail = tail
        self._ask_at = time.monotonic() + _ASK_WHO_LIVES_S
        self._orphaned = False

    @property
    def content_type(self) -> str:
        """The media type of the bytes; empty while the stream is pending."""
        return self._tail.content_type

    def follow(self, offset: int) -> Iterator[bytes | Lost]:
        """Yield the bytes from an offset on, to the end."""
        return self._tail.follow(offset, orphaned=self._nobody_is_left)

    def _nobody_is_left(self) -> bool:
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + _ASK_WHO_LIVES_S
            self._orphaned = not (
                asking.answers(self._directory) or slots_of(self._directory)
            )
        return self._orphaned

    def end(self) -> End:
        """How it has ended."""
        tail = self._tail
        state = tail.state
        if state is State.CANCELLED and tail.evicted:
            return End(state, gone=True)
        gone = not state.final and not self._orphaned
        return End(state, gone, self._orphaned and not state.final, tail.failure)
