"""Many owners: each has a key, and what is another's is not there for it."""

from __future__ import annotations

import random

from tests.chaos.asking import target
from tests.chaos.client import Client
from tests.chaos.model import Chat, World

KEYS = tuple(f'chaos-key-{i:02}-of-many' for i in range(8))


class Stranger(Client):
    """Asks for what belongs to somebody else, by its exact name."""

    def __init__(self, world: World, chat: Chat, rng: random.Random) -> None:
        self.victim = chat
        key = rng.choice([key for key in KEYS if key != chat.key])
        super().__init__(world, Chat(chat.conv_id, key=key), rng)

    async def pry(self) -> None:
        """Read, and stop, what is another's: neither may do anything.

        That its stream goes on its own readers see, for nobody notes here that it may
        have been cancelled.
        """
        session = self.victim.current
        if session is None:
            return
        method = self.rng.choice(('GET', 'HEAD', 'DELETE'))
        path = target(self.chat, self.rng, generation=session.generation)
        answer = await self.ask(method, path)
        if answer is None:
            return
        answer.close()
        legal = {404, 503} | ({204} if method == 'DELETE' else {409})
        if answer.status not in legal:
            text = f'{method} of {session.generation}, another key: {answer.status}'
            self.bad('torn', text)
        self.world.verdict.notes["requests for others' streams, refused"] += 1
