"""What all clients have in common; and readers, who follow what others post."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from tests.chaos import wire
from tests.chaos.asking import SUPERVISOR, target
from tests.chaos.follow import Follow
from tests.chaos.model import ANSWER_S, Chat, Session, World
from tests.chaos.wire import Answer

_FINAL = ('complete', 'cancelled', 'aborted')


class Client:
    """What owners and readers have in common."""

    def __init__(self, world: World, chat: Chat, rng: random.Random) -> None:
        self.world = world
        self.chat = chat
        self.rng = rng
        self.follow: Follow | None = None

    def bad(self, kind: str, text: str) -> None:
        """Report a problem."""
        self.world.verdict.problem(kind, f'{self.chat.conv_id!r}: {text}')

    async def ask(
        self, method: str, path: str, body: bytes = b'', **headers: str
    ) -> Answer | None:
        """Make a request; None if it was dropped for a legal cause, or hung."""
        world = self.world
        asked_at = world.now()
        try:
            return await wire.request(
                world.port,
                method,
                path,
                {k.replace('_', '-'): v for k, v in headers.items()}
                | self.chat.headers,
                body,
                wait_s=ANSWER_S + world.slack,
            )
        except wire.Unanswered:
            if not world.stopping:
                self.bad('hung', f'{method} {path} unanswered for {ANSWER_S} s')
        except wire.Dropped as ex:
            self.dropped(asked_at, str(ex))
        return None

    def dropped(self, asked_at: float, text: str, overtaken: bool = False) -> None:
        """Judge a request that got no answer at all.

        Args:
            asked_at: when it was made.
            text: which.
            overtaken: whether the ring may have been faster than its first byte, which
                is no excuse: its client has nothing to go on from.
        """
        world = self.world
        if world.stopping:
            return
        cause = world.processes.dropped_by(asked_at)
        if not cause or (overtaken and 'leaving' in cause):
            why = ' (overtaken before its first byte?)' if overtaken else ''
            self.bad('unexpected', f'no answer{why}: {text}')
        else:
            world.verdict.notes[cause] += 1

    async def run_follow(self, follow: Follow, answer: Answer | None = None) -> str:
        """Follow to the end and count how it ended."""
        self.follow = follow
        try:
            end = await follow.run(answer)
        finally:
            self.follow = None
        self.world.verdict.ends[end] += 1
        return end

    def excused(self, answer: Answer, message: object) -> bool:
        """Whether a 503 is due to a supervisor that was killed."""
        if answer.status != 503 or not answer.headers.get('retry-after'):
            return False
        now = self.world.now()
        said = any(word in str(message) for word in SUPERVISOR)
        return said and self.world.supervisor_trouble(now)

    async def head(self) -> None:
        """Check what a HEAD says against what is known."""
        session = self.chat.current
        if session is None:
            return
        verified = session.verified
        path = target(self.chat, self.rng, generation=session.generation)
        answer = await self.ask('HEAD', path)
        if answer is None:
            return
        answer.close()
        if answer.status == 404 and self.world.may_be_gone(session, self.chat):
            return
        if answer.status == 409 and session.may_be_cancelled:
            return
        if answer.status == 400 and session.lap_possible(0):
            return
        if answer.status != 200:
            self.bad('unexpected', f'HEAD {session.generation}: {answer.status}')
            return
        self.check_counts(
            session,
            verified,
            answer.headers['stream-state'],
            int(answer.headers['stream-total-bytes']),
            int(answer.headers['stream-dropped-prefix']),
        )

    def check_counts(
        self, session: Session, verified: int, state: str, total: int, dropped: int
    ) -> None:
        """Check the counts and the state of a session."""
        script = session.script
        told = f'{session.generation} is {state}, {dropped} to {total}'
        if total < verified:
            self.bad('lost', f'{told}, though {verified} bytes were read before')
        if script is None or self.world.stopping:
            return
        if total > script.sent + 400:
            self.bad('torn', f'{told}, though {script.sent} bytes were sent')
        if state == 'complete' and total != len(script.data):
            self.bad('lost', f'{told}, though it has {len(script.data)} bytes')
        if state == 'cancelled' and not session.may_be_cancelled:
            self.bad('unexpected', f'{told}, though nobody cancelled it')
        lost = self.world.processes.trouble_since(script.posted_at)
        if state == 'aborted' and script.end != 'broken' and not lost:
            self.bad('unexpected', f'{told}, though no worker was lost')

    async def lookup(self, chats: list[Chat]) -> None:
        """Check a look-up of several conversations."""
        verified = {
            s.generation: s.verified for c in chats for s in c.sessions.values()
        }
        chats = [c for c in chats if c.key == self.chat.key]
        live = [
            c.current
            for c in chats
            if c.current and not self.world.may_be_gone(c.current, c)
        ]
        ids = [c.conv_id for c in chats]
        body = json.dumps({'conversation_ids': ids}).encode()
        answer = await self.ask('POST', '/v1/streams/lookup', body)
        if answer is None:
            return
        found: Any = await answer.json(ANSWER_S)
        if answer.status != 200:
            error = found.get('error', {}) if isinstance(found, dict) else {}
            if not self.excused(answer, error.get('message')):
                self.bad('unexpected', f'lookup: {answer.status} {found}')
            return
        if found is None and not answer.whole:
            return
        by_generation = {entry['generation']: entry for entry in found}
        for chat in chats:
            for session in chat.sessions.values():
                entry = by_generation.pop(session.generation, None)
                if entry is not None:
                    self.check_counts(
                        session,
                        verified.get(session.generation, 0),
                        entry['state'],
                        entry['total_bytes'],
                        entry['dropped_prefix'],
                    )
                    if entry['is_done'] != (entry['state'] in _FINAL):
                        self.bad('unexpected', f'lookup: {entry}')
                elif session in live and not self.world.may_be_gone(session, chat):
                    self.bad('lost', f'lookup without {session.generation}: {found}')
        for entry in by_generation.values():
            if not any(
                entry['conversation_id'] == i
                or entry['conversation_id'].startswith(i + '::')
                for i in ids
            ):
                self.bad('torn', f'lookup found {entry}, not asked for')


class Reader(Client):
    """Follows a conversation that others post to, and looks around."""

    async def run(self) -> None:
        """Go on until the world stops."""
        world, rng = self.world, self.rng
        while not world.stopping:
            mood = rng.random()
            if mood < 0.1:
                await self.head()
            elif mood < 0.15:
                some = rng.sample(world.chats, min(len(world.chats), 8))
                await self.lookup([self.chat, *(c for c in some if c is not self.chat)])
            else:
                await self._follow()
            await asyncio.sleep(rng.uniform(0.05, 0.8))

    async def _follow(self) -> None:
        rng = self.rng
        session, offset = self.chat.current, 0
        if rng.random() < 0.3:
            session = None
        elif session is not None and rng.random() < 0.5:
            offset = rng.randint(0, session.verified)
        lazy = rng.random() < 0.15
        await self.run_follow(
            Follow(self.world, self.chat, rng, session, offset, lazy=lazy)
        )
