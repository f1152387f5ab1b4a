"""Large requests: whole ones, and such as break off in the middle."""

from __future__ import annotations

import asyncio
import json
import random

from tests.chaos.content import write_script
from tests.chaos.model import Chat, World
from tests.chaos.owner import Owner

_SIZES = (60_000, 400_000, 1_500_000, 6_000_000)
_PARTS = (0.0, 0.1, 0.5, 0.9, 0.999)
_WATCH_S = 3.0


class Uploader(Owner):
    """Posts what is large."""

    def __init__(self, world: World, chat: Chat, rng: random.Random) -> None:
        super().__init__(world, chat, rng)
        self.padding = 'u' * rng.choice(_SIZES)

    async def cut(self) -> None:
        """Break off in the middle of a request: it is not carried out.

        But it says that it wants a stream, so it may stop what the conversation has
        that is live.
        """
        world, chat, rng = self.world, self.chat, self.rng
        script = write_script(rng, chat.conv_id, 'trickle', 'complete')
        world.upstream.scripts[script.nonce] = script
        script.posted_at = world.now()
        chat.loosen(world.now())
        message = {'nonce': script.nonce, 'stream': True, 'padding': self.padding}
        body = json.dumps(message).encode()
        lines = [
            'POST /v1/chat/completions HTTP/1.1',
            'Host: localhost',
            'Content-Type: application/json',
            f'Content-Length: {len(body)}',
            f'X-Conversation-Id: {chat.conv_id}',
            *(f'{name}: {value}' for name, value in chat.headers.items()),
            *('', ''),
        ]
        part = body[: int(len(body) * rng.choice(_PARTS))]
        try:
            async with asyncio.timeout(30):
                _, writer = await asyncio.open_connection('127.0.0.1', world.port)
                writer.write('\r\n'.join(lines).encode('utf-8') + part)
                await writer.drain()
                await asyncio.sleep(rng.choice((0.0, 0.05, 0.5)))
                writer.transport.abort()
        except OSError:
            # The service refused it, or its worker has died: that is as good as cut.
            world.verdict.notes['uploads cut by the service'] += 1
        await asyncio.sleep(_WATCH_S)
        if script.started_at is not None:
            self.bad('unexpected', f'half a request {script.nonce} was carried out')
        world.verdict.notes['uploads cut in the middle'] += 1
        script.finish('cut', world.now())
