"""From a POST's first byte to its last; its session is announced on the way.

::

    the body comes
      |  it says "stream": true --> the session exists, pending
      |     |-- stopped, replaced, no room --> no more is read, the POST ends with that
      |     |-- the client leaves, is too slow, sends too much --> it is withdrawn
      |     '-- the body is whole --> the upstream is asked (``Generation.ask``)
      '- it does not --> the upstream is asked as if we were not there
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import falcon.asgi

from shmstream.http.conversation import Conversation
from shmstream.http.generation import Generation
from shmstream.http.uploads import Upload, Uploads


class Announcing:
    """Reads one POST's body.

    Args:
        uploads: bounds it.
        conversation: what is found in it.
        begin: begins the generation of the session with this id.

    Attributes:
        generation: the one that has been begun.
    """

    def __init__(
        self,
        uploads: Uploads,
        conversation: Conversation,
        begin: Callable[[str], Generation],
    ) -> None:
        self._uploads = uploads
        self._conversation = conversation
        self._begin = begin
        self.generation: Generation | None = None

    async def read(self, req: falcon.asgi.Request, most: int) -> Upload:
        """Read the whole body.

        Raises:
            Problem: as ``Uploads.read``, or what has become of the generation.
            InvalidConversationId: an id in the body can be none.
            NoRoom, SupervisorUnavailable: no session could be made.
        """
        loop = asyncio.get_running_loop()
        # A task of its own, so that the end of the generation can end it.
        self._reading = loop.create_task(self._uploads.read(req, most, self._look))
        try:
            upload = await self._reading
        except BaseException:
            generation = self.generation
            if generation is not None:
                if generation.failed and self._reading.cancelled():
                    # It raises why.
                    await generation.answer()
                generation.withdraw()
            raise
        return upload

    async def _look(self, piece: bytes) -> None:
        await self._conversation.look(piece)
        if self.generation is None and (conv_id := self._conversation.announced):
            self.generation = self._begin(conv_id)
            self.generation.on_failure(self._reading.cancel)
