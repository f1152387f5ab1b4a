"""Clients that POST, do not read, and then stop what they do not read."""

from __future__ import annotations

import asyncio
import random

from tests.chaos.content import write_script
from tests.chaos.follow import Follow
from tests.chaos.model import Chat, World
from tests.chaos.owner import Owner

_BUFFER = 4096
_READ_AFTER_S = (0.0, 2.0, 6.0)


class Careless(Owner):
    """Has the service hold what nobody takes."""

    def __init__(self, world: World, chat: Chat, rng: random.Random) -> None:
        super().__init__(world, chat, rng)
        self.receive_buffer = _BUFFER

    async def leave_it(self) -> None:
        """Post a flood, look away, DELETE or replace it, and only then read.

        What comes then are the stream's own bytes up to where it was stopped, or a cut.
        """
        chat, world, rng = self.chat, self.world, self.rng
        script = write_script(rng, chat.conv_id, 'flood', 'complete')
        world.upstream.scripts[script.nonce] = script
        answer = await self._post(script)
        if answer is None:
            return
        session = chat.posted(script, answer.generation, answer.worker)
        world.verdict.streams += 1
        try:
            await asyncio.sleep(rng.choice((0.0, 0.3, 2.0)))
            if rng.random() < 0.7:
                await self._delete(session)
            else:
                await self.once(0.5)
            await asyncio.sleep(rng.choice(_READ_AFTER_S))
            follow = Follow(world, chat, rng, session, 0)
            follow.stall_until = world.now()
            await self.run_follow(follow, answer)
        finally:
            answer.close()
        world.verdict.notes['streams stopped by who did not read them'] += 1
