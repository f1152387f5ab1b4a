"""From a POST's first byte to its last; its session is announced on the way.

::

    the body comes
      |  it says "stream": true --> the session exists, pending
      |     |-- stopped, replaced, no room --> no more is read, the POST ends with that
      |     |-- the client leaves, is too slow, sends too much --> it is withdrawn
      |     '-- the body is whole --> the upstream is asked (``AnswerTask.ask``)
      '- it does not --> the upstream is asked as if we were not there
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import falcon.asgi

from shmstream.http.answer_task import AnswerTask
from shmstream.http.conversation import Conversation
from shmstream.http.uploads import Upload, Uploads


class Announcing:
    """Reads one POST's body.

    Args:
        uploads: bounds it.
        conversation: what is found in it.
        begin: begins the answer task of the session with this id.

    Attributes:
        task: the one that has been begun.
    """

    def __init__(
        self,
        uploads: Uploads,
        conversation: Conversation,
        begin: Callable[[str], AnswerTask],
    ) -> None:
        self._uploads = uploads
        self._conversation = conversation
        self._begin = begin
        self.task: AnswerTask | None = None

    async def read(self, req: falcon.asgi.Request, most: int) -> Upload:
        """Read the whole body.

        Raises:
            Problem: as ``Uploads.read``, or what has become of the answer task.
            InvalidConversationId: an id in the body can be none.
            NoRoom, SupervisorUnavailable: no session could be made.
        """
        loop = asyncio.get_running_loop()
        # A task of its own, so that the end of the answer task can end it.
        self._reading = loop.create_task(self._uploads.read(req, most, self._look))
        try:
            upload = await self._reading
        except BaseException:
            task = self.task
            if task is not None:
                if task.failed and self._reading.cancelled():
                    # It raises why.
                    await task.answer()
                task.withdraw()
            raise
        return upload

    async def _look(self, piece: bytes) -> None:
        await self._conversation.look(piece)
        if self.task is None and (conv_id := self._conversation.announced):
            self.task = self._begin(conv_id)
            self.task.on_failure(self._reading.cancel)
