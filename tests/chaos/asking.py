"""How a resuming reader asks for a stream, and what it may be told."""

from __future__ import annotations

import asyncio
import collections
import random
from urllib.parse import quote

from tests.chaos import content, wire
from tests.chaos.model import ANSWER_S, Chat, Session, World
from tests.chaos.processes import LEAVE_S
from tests.chaos.wire import Answer

SUPERVISOR = ('supervisor', 'no reply')
"""What a 503 says when there is no supervisor."""


def target(chat: Chat, rng: random.Random, **query: object) -> str:
    """The address of a stream, in one of its two forms."""
    parts = [f'{k}={v}' for k, v in query.items()]
    name = quote(chat.conv_id, safe='')
    if rng.random() < 0.3:
        return '/v1/stream?' + '&'.join([f'conv_id={name}', *parts])
    return f'/v1/stream/{name}' + ('?' + '&'.join(parts) if parts else '')


class Asking:
    """One reader of one stream, between two answers.

    Args:
        world: what everybody shares.
        chat: whose stream.
        rng: decides when it hangs up by itself.
        session: which stream; None: whatever is there.
        offset: where to begin.
        lazy: it has a small receive buffer, and now and then does not read at all.
    """

    def __init__(
        self,
        world: World,
        chat: Chat,
        rng: random.Random,
        session: Session | None,
        offset: int,
        lazy: bool = False,
    ) -> None:
        self.world = world
        self.chat = chat
        self.session = session
        self.offset = offset
        self.rng = rng
        self.lazy = lazy
        self.answer: Answer | None = None
        self.dropped = False
        self.stall_until = 0.0
        self.asked_at = 0.0
        self.blind = False
        self.given = 0
        self.quiet_since = 0.0
        self._silences: collections.deque[tuple[float, float]] = collections.deque(
            maxlen=16
        )

    @property
    def name(self) -> str:
        """For logs."""
        generation = self.session.generation if self.session else '?'
        script = self.session.script if self.session else None
        what = f'{script.pace.name}/{script.end}' if script else '?'
        return f'{self.chat.conv_id!r} {generation} {what} at {self.offset}'

    def drop(self) -> None:
        """Lose the network."""
        self.dropped = True
        if self.answer is not None:
            self.answer.close()

    def stall(self, seconds: float) -> None:
        """Do not read for a while."""
        self.stall_until = self.world.now() + seconds

    def bad(self, kind: str, text: str) -> str:
        """Report a problem; the end of this reader."""
        worker = self.answer.worker if self.answer else 0
        self.world.verdict.problem(kind, f'{self.name} worker {worker}: {text}')
        return kind

    async def get(self) -> Answer | str:
        """Ask for the stream from here on; the answer, or an end, or ``again``."""
        query: dict[str, object] = {'from': self.offset}
        session = self.session
        if session is not None:
            query['generation'] = session.generation
        known = session is not None and session.began
        self.asked_at = self.world.now()
        # Small enough for the ring to overtake a reader that does not read.
        buffer = 4096 if self.lazy else None
        try:
            answer = await wire.request(
                self.world.port,
                'GET',
                target(self.chat, self.rng, **query),
                self.chat.headers,
                wait_s=ANSWER_S + self.world.slack,
                receive_buffer=buffer,
            )
        except wire.Unanswered:
            if self.world.stopping:
                return 'stopped'
            return self.bad('hung', f'GET unanswered for {ANSWER_S} s')
        except wire.Dropped as ex:
            return await self._not_served(str(ex))
        if answer.status == 200:
            return self._accept(answer)
        error = await answer.json(ANSWER_S)
        return await self._refused(answer, error, known)

    async def _not_served(self, text: str) -> str:
        world, session = self.world, self.session
        if world.stopping:
            return 'stopped'
        overtaken = session is not None and session.lap_possible(self.offset)
        cause = world.processes.dropped_by(self.asked_at)
        if not cause or (overtaken and 'leaving' in cause):
            why = ' (overtaken before its first byte?)' if overtaken else ''
            return self.bad('unexpected', f'no answer{why}: {text}')
        world.verdict.notes[cause] += 1
        await asyncio.sleep(0.1)
        return 'again'

    def _accept(self, answer: Answer) -> Answer | str:
        if self.session is None:
            self.session = self.chat.seen(answer.generation)
        session = self.session
        session.began = True
        told = (answer.generation, answer.headers.get('stream-offset'))
        if told != (session.generation, str(self.offset)):
            answer.close()
            return self.bad('torn', f'answered as {told}')
        return answer

    async def _refused(self, answer: Answer, error: object, known: bool) -> str:
        world, session = self.world, self.session
        found = error.get('error') if isinstance(error, dict) else None
        if not isinstance(found, dict) or found.get('code') != answer.status:
            if answer.whole is False:
                return await self._not_served('the error was cut')
            return self.bad('unexpected', f'{answer.status}: {error!r}')
        message = str(found.get('message'))
        match answer.status:
            case 404 if world.may_be_gone(session, self.chat):
                return 'gone'
            case 409 if session is not None and session.may_be_cancelled:
                return 'cancelled'
            case 400 if 'dropped_prefix' in found:
                return self._overtaken(found)
            case 503 if self._come_again(answer, message, known):
                await asyncio.sleep(self.rng.uniform(0.2, 1.0))
                return 'again'
        return self.bad('unexpected', f'{answer.status}: {message}')

    def _come_again(self, answer: Answer, message: str, known: bool) -> bool:
        world = self.world
        if not answer.headers.get('retry-after'):
            return False
        if 'has not begun' in message:
            return not known
        if 'is leaving' in message:
            return world.stopping or world.processes.left_between(
                self.asked_at - LEAVE_S, world.now()
            )
        if any(word in message for word in SUPERVISOR):
            return world.supervisor_trouble(world.now())
        return False

    def _overtaken(self, error: dict[str, object]) -> str:
        dropped, total = error.get('dropped_prefix'), error.get('total_bytes')
        if not isinstance(dropped, int) or not isinstance(total, int):
            return self.bad('unexpected', f'400 without numbers: {error}')
        session = self.session
        if session is None:
            # The first look at a stream that is longer than the ring. By the time of
            # the second, a shorter one may have replaced it.
            self.offset, self.blind = dropped, True
            return 'again'
        if not session.lap_possible(self.offset):
            return self.bad('lost', f'400: {error}, which cannot be')
        if not self.offset < dropped <= total:
            return self.bad('unexpected', f'400: {error}')
        if all(dropped > s.sent + 400 - content.CAPACITY for s in session.candidates):
            return self.bad('lost', f'dropped more than the ring had to: {error}')
        self.world.verdict.lapped += 1
        self.offset = dropped
        return 'again'
