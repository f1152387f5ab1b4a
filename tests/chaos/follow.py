"""A resuming reader: follows one stream to its end, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib

from tests.chaos import content
from tests.chaos.asking import Asking
from tests.chaos.promises import ENDED_S, SUPERVISORS, Wait, bound
from tests.chaos.wire import Answer

_RETRIES = 60
_AGAIN_S = 5.0
"""What a reader that is cut off again and again is given on top."""

_POLL_S = 1.0


class Follow(Asking):
    """One reader of one stream, from its offset to its end."""

    async def run(self, answer: Answer | None = None) -> str:
        """Follow to the end; how it ended.

        Args:
            answer: a POST's, with its session set; else it begins with a GET.
        """
        world = self.world
        self.quiet_since = world.now()
        tries = 0
        while tries < _RETRIES:
            tries += 1
            if answer is None:
                if world.stopping:
                    return 'stopped'
                why = self._overdue(self.quiet_since, _AGAIN_S)
                if why:
                    return self.bad('hung', f'nothing new in several tries, {why}')
                found = await self.get()
                if isinstance(found, str):
                    if found == 'again':
                        continue
                    return found
                answer = found
            self.answer, self.dropped = answer, False
            world.open += 1
            try:
                end = await self._read(answer)
            finally:
                world.open -= 1
                answer.close()
            answer = None
            if end != 'again':
                return end
            if self.given:
                tries = 0
        return self.bad('hung', f'nothing in {_RETRIES} tries')

    async def _read(self, answer: Answer) -> str:
        """Read and check one answer; how the stream ended, or ``again``."""
        world, session = self.world, self.session
        assert session is not None
        patience = self.rng.choice((None, None, 3_000, 60_000, 400_000))
        self.given = 0
        quiet_since = world.now()
        while True:
            if self.lazy and self.rng.random() < 0.02:
                self.stall(self.rng.uniform(0.3, 2.0))
            wait_s = self.stall_until - world.now()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                quiet_since = self.quiet_since = world.now()
            try:
                data = await answer.read(_POLL_S)
            except TimeoutError:
                why = self._overdue(quiet_since)
                if why:
                    return self.bad('hung', f'silent, though {why}')
                continue
            self._heard(quiet_since)
            if not data:
                return await self._ended(answer)
            wrong = session.check(self.offset, data)
            if wrong is not None:
                return self.bad(wrong[0], wrong[1])
            quiet_since = self.quiet_since = world.now()
            self.offset += len(data)
            world.verdict.bytes_checked += len(data)
            self.given += len(data)
            if patience is not None and self.given >= patience:
                return 'again'

    def _overdue(self, quiet_since: float, more_s: float = 0.0) -> str:
        if self.session is None:
            return ''
        now = self.world.now() - self.world.slack - more_s
        return self.session.overdue(self.offset, quiet_since, now)

    async def _ended(self, answer: Answer) -> str:
        if answer.whole:
            return await self._whole()
        session = self.session
        assert session is not None
        if self.world.stopping and not self.dropped:
            return 'stopped'
        if not (
            self.dropped
            or session.may_be_cancelled
            or session.lap_possible(self.offset)
        ):
            self.world.processes.judge_cut(
                answer.worker, f'{self.name} was cut without a cause'
            )
        return 'again'

    async def _whole(self) -> str:
        world, session = self.world, self.session
        assert session is not None
        for script in session.candidates:
            if script.started_at is not None and script.how is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(3):
                        await script.over.wait()
        for script in session.candidates:
            if script.how == 'complete' and self.offset == len(script.data):
                session.candidates = [script]
                self._waited('end of a complete stream', script.ended_at)
                return 'exact'
        for tail in session.tails:
            if tail.end == self.offset:
                return self._aborted(tail.message)
        if session.may_be_cancelled:
            at = min(
                (
                    s.cancel_certain_at
                    for s in session.candidates
                    if s.cancel_certain_at
                ),
                default=None,
            )
            self._waited('end of a cancelled stream', at)
            return 'cancelled'
        if self.blind and not self.given:
            return 'beyond its end'
        if world.stopping:
            return 'stopped'
        if not self.offset and not any(s.streams for s in session.candidates):
            return self.bad('unexpected', 'read as a stream, which it never was')
        facts = [(s.how, s.sent, len(s.data)) for s in session.candidates]
        return self.bad('lost', f'ended with the closing chunk; upstream: {facts}')

    def _heard(self, quiet_since: float) -> None:
        now = self.world.now()
        if now - quiet_since > ENDED_S / 10:
            self._silences.append((quiet_since, now))

    def _waited(self, what: str, since: float | None, killed: bool = False) -> None:
        """Judge how long the end of this stream was waited for."""
        # A reader that came later, or did not read, was not waiting for it.
        if since is None or since <= self.asked_at or since <= self.stall_until:
            return
        world, session = self.world, self.session
        assert session is not None
        # What is handed over late is waited for; what there is much of is not.
        began, ended = max(
            ((max(a, since), b) for a, b in self._silences if b > since),
            key=lambda span: span[1] - span[0],
            default=(since, since),
        )
        deaths = world.processes.supervisors_killed
        most = bound(killed, deaths, since, ended)
        if most > ENDED_S:
            what += ', supervisor killed too'
        script = session.script
        worker = self.answer.worker if self.answer else None
        on_the_way: tuple[int | None, ...]
        on_the_way = (worker, script.producer if script else None)
        if killed:
            on_the_way += (SUPERVISORS,)
        wait = Wait(what, on_the_way, since, began, ended, most, self.name)
        world.waits.append(wait)

    def _aborted(self, message: str) -> str:
        session, processes = self.session, self.world.processes
        assert session is not None
        script = session.candidates[0]
        if message == content.BROKE:
            legal = script.how == 'broken'
        elif message == content.DIED:
            legal = processes.killed_or_gone(script.producer, script.posted_at)
            at = processes.killed.get(script.producer or 0)
            self._waited('end of a killed stream', at, killed=True)
        elif message in content.LEFT:
            legal = self.world.stopping or processes.trouble_since(script.posted_at)
        else:
            legal = False
        if not legal:
            return self.bad(
                'unexpected', f'aborted without cause: {message}; {script.how}'
            )
        return 'aborted'
