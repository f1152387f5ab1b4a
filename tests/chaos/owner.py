"""Owners: they post to a conversation, follow, stop and replace."""

from __future__ import annotations

import asyncio
import json

from tests.chaos import wire
from tests.chaos.asking import target
from tests.chaos.client import Client
from tests.chaos.content import CAPACITY, Script, write_script
from tests.chaos.follow import Follow
from tests.chaos.model import ANSWER_S, END_S, Session
from tests.chaos.processes import LEAVE_S
from tests.chaos.promises import ENDED_S, Wait
from tests.chaos.wire import Answer

_watches: set[asyncio.Task[None]] = set()


class Owner(Client):
    """Posts to one conversation, follows, stops and replaces."""

    padding = ''
    receive_buffer: int | None = None

    async def run(self) -> None:
        """Go on until the world stops."""
        while not self.world.stopping:
            await self.once(self.rng.random())
            await asyncio.sleep(self.rng.uniform(0.05, 1.0))

    async def once(self, mood: float, end: str | None = None) -> None:
        """Post one generation and see it through, or not."""
        chat, world = self.chat, self.world
        script = write_script(self.rng, chat.conv_id, chat.wish, end)
        chat.wish = None
        world.upstream.scripts[script.nonce] = script
        post = asyncio.create_task(self._post(script))
        if mood < 0.12:
            # Leave at once, or while the upstream thinks.
            await asyncio.wait((post,), timeout=self.rng.choice((0.0, 0.01, 0.3)))
            if not post.done():
                post.cancel()
                await asyncio.wait((post,))
                chat.loosen(world.now())
                world.verdict.notes['POSTs left before their answer'] += 1
                await self._reread(script)
                return
        answer = await post
        if answer is None:
            return
        session = chat.posted(script, answer.generation, answer.worker)
        world.verdict.streams += 1
        follow = Follow(world, chat, self.rng, session, 0)
        if mood < 0.65:
            if await self.run_follow(follow, answer) == 'exact' and mood < 0.4:
                await self._reread(script)
            return
        followed = asyncio.create_task(self.run_follow(follow, answer))
        wait_s = self.rng.choice((0.0, 0.2, 1.0, 3.0))
        await asyncio.wait((followed,), timeout=wait_s)
        if mood < 0.85:
            await self._delete(session)
        else:
            # Replaced in the middle; who follows it is told so.
            await self.once(0.5)
        await followed

    async def _post(self, script: Script) -> Answer | None:
        """POST it; the answer if it is a stream."""
        chat, world = self.chat, self.world
        before = [s for s in chat.sessions.values() if s.script]
        chat.post(script, world.now())
        message = {'nonce': script.nonce, 'stream': True, 'padding': self.padding}
        body = json.dumps(message).encode()
        try:
            answer = await wire.request(
                world.port,
                'POST',
                '/v1/chat/completions',
                {'X-Conversation-Id': chat.conv_id, 'Content-Type': 'application/json'}
                | chat.headers,
                body,
                receive_buffer=self.receive_buffer,
                wait_s=ANSWER_S + script.prefill_s + world.slack,
            )
        except wire.Unanswered as ex:
            chat.loosen(world.now())
            if not world.stopping:
                self.bad('hung', f'POST {script.nonce} unanswered: {ex}')
            return None
        except wire.Dropped as ex:
            chat.loosen(world.now())
            overtaken = script.sent > CAPACITY
            self.dropped(script.posted_at, str(ex), overtaken)
            return None
        if answer.status == 200 and answer.generation:
            self._replaced(before, answer.generation)
            if script.streams:
                return answer
            self.bad('unexpected', f'{script.end} became a stream')
        try:
            await self._judge_plain(script, answer)
        except TimeoutError:
            self.bad('hung', f'the answer to POST {script.nonce} stands still')
        answer.close()
        return None

    def _replaced(self, before: list[Session], generation: str) -> None:
        now = self.world.now()
        for session in before:
            script = session.script
            if script is None or session.generation == generation:
                continue
            if script.cancel_certain_at is None:
                script.cancel_certain_at = now
                self._expect_stop(script, 'replaced')

    def _expect_stop(self, script: Script, why: str) -> None:
        """The upstream's connection has to be closed soon."""
        if script.started_at is not None and script.how is None:
            task = asyncio.create_task(self._see_stop(script, why))
            _watches.add(task)
            task.add_done_callback(_watches.discard)

    async def _see_stop(self, script: Script, why: str) -> None:
        began = self.world.now()
        try:
            async with asyncio.timeout(END_S + self.world.slack):
                await script.over.wait()
        except TimeoutError:
            if not self.world.stopping:
                self.bad('hung', f'{script.nonce} still generates, {why} {END_S} s ago')
            return
        world = self.world
        now = world.now()
        on_the_way = (script.producer,)
        what = f'upstream let go when {why}'
        wait = Wait(what, on_the_way, began, began, now, ENDED_S, script.nonce)
        world.waits.append(wait)

    async def _judge_plain(self, script: Script, answer: Answer) -> None:
        world = self.world
        body = await answer.body(ANSWER_S)
        if answer.whole is False:
            if not world.stopping and not world.processes.trouble_since(
                script.posted_at
            ):
                self.bad('unexpected', f'the answer {answer.status} was cut')
            return
        told = (answer.status, body)
        if script.end in ('status', 'plain') and told == (
            script.status,
            script.plain_body,
        ):
            world.verdict.notes['answers that are no streams, passed on'] += 1
            return
        try:
            message = str(json.loads(body)['error']['message'])
        except (ValueError, KeyError, TypeError):
            message = repr(body[:200])
        if self._legal_refusal(script, answer, message):
            await asyncio.sleep(self.rng.uniform(0.1, 1.0))
            return
        if not world.stopping:
            self.bad('unexpected', f'POST {script.end}: {answer.status} {message}')

    def _legal_refusal(self, script: Script, answer: Answer, message: str) -> bool:
        world = self.world
        if answer.status == 502 and script.end == 'refused':
            world.verdict.notes['502 for a broken upstream'] += 1
            return True
        if answer.status == 400 and message == 'request cancelled':
            return script.cancel_possible_at is not None
        if answer.status == 400 and 'offset lost' in message:
            world.verdict.notes['POSTs overtaken before their first byte'] += 1
            return script.sent + 400 > CAPACITY
        if answer.status == 503 and 'request bodies' in message:
            world.verdict.notes['503 for too many uploads'] += 1
            return bool(self.padding) and 'retry-after' in answer.headers
        if answer.status == 503 and message.startswith('no room'):
            world.verdict.notes['503 for no room'] += 1
            return world.live_sessions() >= world.max_sessions
        if self.excused(answer, message):
            world.verdict.notes['503 while there is no supervisor'] += 1
            return True
        if answer.status == 503 and 'is leaving' in message:
            world.verdict.notes['503 from a worker that left before the answer'] += 1
            since = script.posted_at - LEAVE_S
            return world.processes.left_between(since, world.now())
        return False

    async def _reread(self, script: Script) -> None:
        """Read what is there from the beginning, without knowing the generation."""
        world = self.world
        if self.rng.random() < 0.5:
            await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        follow = Follow(world, self.chat, self.rng, None, 0)
        await self.run_follow(follow)

    async def _delete(self, session: Session) -> None:
        chat, world = self.chat, self.world
        old = [g for g, s in chat.sessions.items() if s is not session and s.script]
        if old and self.rng.random() < 0.3:
            # Comes late, and must not stop what is there now.
            path = target(chat, self.rng, generation=self.rng.choice(old))
            await self._deleted(await self.ask('DELETE', path))
        script = session.script
        assert script is not None
        script.may_be_cancelled(world.now())
        if self.rng.random() < 0.5:
            path = target(chat, self.rng, generation=session.generation)
        else:
            path = target(chat, self.rng)
            chat.may_be_cancelled(world.now())
        answer = await self.ask('DELETE', path)
        if answer is None:
            chat.loosen(world.now())
        elif await self._deleted(answer):
            if script.cancel_certain_at is None:
                script.cancel_certain_at = world.now()
            self._expect_stop(script, 'deleted')
            path = target(chat, self.rng, generation=session.generation)
            after = await self.ask('GET', path)
            if after is not None:
                after.close()
                if after.status not in (404, 409):
                    self.bad('unexpected', f'GET after DELETE: {after.status}')

    async def _deleted(self, answer: Answer | None) -> bool:
        if answer is None:
            return False
        if answer.status == 204:
            answer.close()
            self.world.verdict.notes['DELETEs'] += 1
            return True
        found = await answer.json(ANSWER_S)
        error = found.get('error', {}) if isinstance(found, dict) else {}
        if not self.excused(answer, error.get('message')) and not self.world.stopping:
            self.bad('unexpected', f'DELETE: {answer.status} {found}')
        return False
