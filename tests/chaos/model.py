"""What is legal: the conversations as the clients know them, and the bounds.

::

    Chat      one conversation id: the generations that were posted to it, in order
    Script    one of them: what the upstream sends, and what clients did to it
    Session   what the service calls a generation: which of the scripts it is
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tests.chaos import content
from tests.chaos.content import CAPACITY, ErrorTail, Script
from tests.chaos.processes import Processes
from tests.chaos.promises import Machine, Wait
from tests.chaos.upstream import Upstream
from tests.chaos.verdict import Verdict

END_S = 10.0
"""From a stream's end, for whatever cause, to the end of every follower."""

ANSWER_S = 15.0
"""From a request to its answer."""

LOOSE_S = 30.0
"""How long a request whose answer nobody saw may still take effect."""

TTL_S = 6.0
GC_S = 0.5
GRACEFUL_S = 8
DRAIN_S = 6.0
_SUPERVISOR_S = 15.0
_NOTICED_S = 6.0
"""How long a session may go on without its upstream or its producer."""

_ERROR_BYTES = 600
_KEPT = 8


class Session:
    """One session as its readers see it.

    Attributes:
        candidates: the scripts that it may be; one, once enough bytes have been seen.
        verified: the highest offset that has been checked.
        began: whether it has been answered with 200.
        tails: error events that explain what was seen after the script's bytes.
    """

    def __init__(self, generation: str, candidates: list[Script]) -> None:
        self.generation = generation
        self.candidates = candidates
        self.verified = 0
        self.began = False
        self.tails: list[ErrorTail] = []

    @property
    def script(self) -> Script | None:
        """Which one it is, if that is clear."""
        return self.candidates[0] if len(self.candidates) == 1 else None

    @property
    def may_be_cancelled(self) -> bool:
        """Whether anything has been done that may have stopped it."""
        return any(s.cancel_possible_at is not None for s in self.candidates)

    def check(self, offset: int, chunk: bytes) -> tuple[str, str] | None:
        """Compare bytes with the truth; None if they are the truth."""
        end = offset + len(chunk)
        fits = [
            s for s in self.candidates if end <= s.sent and s.data[offset:end] == chunk
        ]
        if fits and not self.tails:
            self.candidates = fits
            self.verified = max(self.verified, end)
            return None
        for script in self.candidates:
            tails = self.tails or content.error_tails(script, offset, chunk)
            tails = [t for t in tails if t.truth(script, offset, len(chunk)) == chunk]
            tails = [t for t in tails if t.start <= script.sent and end <= t.end]
            if tails:
                self.candidates, self.tails = [script], tails
                self.verified = max(self.verified, end)
                return None
        return content.diagnose(self.script, offset, chunk)

    def lap_possible(self, offset: int) -> bool:
        """Whether the ring may have overtaken a reader at this offset."""
        return any(s.sent + _ERROR_BYTES - offset > CAPACITY for s in self.candidates)

    def overdue(self, offset: int, quiet_since: float, now: float) -> str:
        """Say why a follower that hears nothing should have; '' if it need not."""
        script = self.script
        if script is None:
            long = now - quiet_since > END_S * 3
            return 'nothing came, and whose stream it is stayed unclear' if long else ''
        for what, at in (
            (f'its upstream ended ({script.how})', script.ended_at),
            ('it was cancelled', script.cancel_certain_at),
        ):
            if at is not None and now - max(at, quiet_since) > END_S:
                return f'{what} {now - at:.1f} s ago'
        if script.whole > offset and now - quiet_since > END_S:
            return f'upstream has sent {script.whole} bytes of whole events'
        return ''


@dataclass(eq=False)
class Chat:
    """One conversation id.

    Attributes:
        loose_until: until then a request that nobody saw answered may take effect.
        wish: the pace that the next generation is to have; set by a fault.
        key: its owner's; None if there are no owners.
    """

    conv_id: str
    scripts: list[Script] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    current: Session | None = None
    loose_until: float = 0.0
    posting: int = 0
    wish: str | None = None
    key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What says whose it is."""
        return {} if self.key is None else {'Authorization': f'Bearer {self.key}'}

    def post(self, script: Script, now: float) -> None:
        """A POST is about to be sent: it may replace all that was before it."""
        self.may_be_cancelled(now)
        script.posted_at = now
        if now < self.loose_until:
            script.may_be_cancelled(now)
        self.scripts.append(script)
        del self.scripts[:-_KEPT]
        for generation in list(self.sessions)[:-_KEPT]:
            del self.sessions[generation]

    def may_be_cancelled(self, now: float) -> None:
        """Something was sent that may stop whatever there is."""
        for script in self.scripts:
            script.may_be_cancelled(now)

    def loosen(self, now: float) -> None:
        """A request was sent whose answer nobody will see."""
        self.loose_until = now + LOOSE_S
        self.may_be_cancelled(now)

    def posted(self, script: Script, generation: str, worker: int) -> Session:
        """A POST was answered by a stream of this generation."""
        session = self.sessions.get(generation)
        if session is None or script not in session.candidates:
            session = self.sessions[generation] = Session(generation, [script])
        session.candidates = [script]
        session.began = True
        script.producer = worker
        self.current = session
        return session

    def seen(self, generation: str) -> Session:
        """The session of this generation, which a reader was given."""
        session = self.sessions.get(generation)
        if session is None:
            bound = {id(s.script) for s in self.sessions.values() if s.script}
            candidates = [s for s in self.scripts if id(s) not in bound]
            session = self.sessions[generation] = Session(generation, candidates)
        return session


@dataclass(eq=False)
class World:
    """What everybody shares."""

    port: int
    max_sessions: int
    verdict: Verdict
    processes: Processes
    upstream: Upstream
    chats: list[Chat] = field(default_factory=list)
    stopping: bool = False
    crowded_until: float = 0.0
    """Until then finished sessions may have been evicted to make room."""
    lag: float = 0.0
    """The longest that this process itself was late lately."""
    open: int = 0
    machine: Machine = field(default_factory=Machine)
    waits: list[Wait] = field(default_factory=list)
    """Those that are not judged yet."""

    @staticmethod
    def now() -> float:
        """The loop's clock."""
        return asyncio.get_running_loop().time()

    @property
    def slack(self) -> float:
        """What is added to bounds: this process may have been what was late."""
        return 2 * self.lag

    def supervisor_trouble(self, since: float) -> bool:
        """Whether the supervisor may not have been there."""
        processes = self.processes
        killed = processes.supervisors_killed
        if killed and since - killed[-1] < _SUPERVISOR_S:
            return True
        stopped = processes.supervisors_stopped
        return bool(stopped) and since - stopped[-1] < _SUPERVISOR_S

    def judge_waits(self, until: float) -> None:
        """Judge those that ended before then.

        What held them up is known some time later: who was late counts it late.
        """
        waits, self.waits = self.waits, []
        for wait in waits:
            if wait.ended > until:
                self.waits.append(wait)
                continue
            span = wait.since, wait.ended
            stopped = self.processes.stops.within(wait.on_the_way, *span)
            delayed = self.processes.delays.within(wait.on_the_way, *span)
            seconds = self.machine.given(wait.began, wait.ended)
            late = wait.ended - wait.began - seconds
            most = wait.most + stopped + delayed
            who = (
                f'{wait.who} by {wait.on_the_way}; stopped {stopped:.2f} s, not let '
                f'run {delayed:.2f} s, ourselves late by {late:.2f} s'
            )
            self.verdict.waited(wait.what, seconds, most, who)
            if wait.most < seconds + late and seconds <= most:
                self.verdict.excused(wait.what, seconds + late, wait.most, who)

    def live_sessions(self) -> int:
        """At most so many sessions may be unfinished now."""
        now = self.now()
        return sum(
            now - (s.ended_at or now) < _NOTICED_S
            if s.started_at is not None
            else now - s.posted_at < LOOSE_S
            for s in self.upstream.scripts.values()
        )

    def may_be_gone(self, session: Session | None, chat: Chat) -> bool:
        """Whether 404 is a legal answer now."""
        now = self.now()
        if self.stopping or now < chat.loose_until:
            return True
        if session is None or not session.candidates:
            return True
        if session.may_be_cancelled:
            return True
        return any(
            at is not None
            and (now - at > TTL_S - 1 - self.slack or at < self.crowded_until)
            for script in session.candidates
            # Whoever is late here sees the end late.
            for at in (script.ended_at, self.processes.killed.get(script.producer or 0))
        )
