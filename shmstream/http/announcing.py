"""Reads the body of a POST, and makes the session as soon as the body asks for one.

::

    the body arrives
      |  the body says "stream": true ----> the session is made, pending
      |     |-- stopped, replaced, no room -> no more is read, the POST gets an error
      |     |-- the client leaves, is too
      |     |   slow, or sends too much ----> the session is withdrawn
      |     '-- the body is whole ----------> the upstream is asked (``AnswerTask.ask``)
      '- the body does not say so --------> the upstream is asked without a session
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import falcon.asgi

from shmstream.http.answer_task import AnswerTask
from shmstream.http.conversation import Conversation
from shmstream.http.uploads import Upload, Uploads


class Announcing:
    """Reads the body of one POST.

    Args:
        uploads: bounds the bodies that are held in memory.
        conversation: finds the id in the body.
        begin: begins the answer task of the session with this id.
        at_once: whether the answer task begins while the body arrives, as soon as the
            body has announced a session. If not, ``begin`` begins it.

    Attributes:
        task: the answer task; None if it has not begun.
    """

    def __init__(
        self,
        uploads: Uploads,
        conversation: Conversation,
        begin: Callable[[str], AnswerTask],
        *,
        at_once: bool = True,
    ) -> None:
        self._uploads = uploads
        self._conversation = conversation
        self._begin = begin
        self._at_once = at_once
        self.task: AnswerTask | None = None

    async def read(self, req: falcon.asgi.Request, most: int) -> Upload:
        """Read the whole body.

        Raises:
            Problem: as ``Uploads.read``; or the error of the answer task, if the task
                failed while the body was read.
            InvalidConversationId: an id in the body is not valid.
            NoRoom, SupervisorUnavailable: no session could be made.
        """
        loop = asyncio.get_running_loop()
        # A task of its own reads the body, so that a failed answer task can end it.
        self._reading = loop.create_task(self._uploads.read(req, most, self._look))
        try:
            upload = await self._reading
        except BaseException:
            task = self.task
            if task is not None:
                if task.failed and self._reading.cancelled():
                    # This raises the error of the answer task.
                    await task.answer()
                task.withdraw()
            raise
        return upload

    async def _look(self, piece: bytes) -> None:
        await self._conversation.look(piece)
        if self.task is None and self._at_once:
            self.begin()
            if self.task is not None:
                self.task.on_failure(self._reading.cancel)
        elif self.task is not None and self.task.failed:
            # ``cancel`` may have been lost: see ``Pace.came``.
            raise asyncio.CancelledError

    def begin(self) -> None:
        """Begin the answer task, if the body has announced a session.

        Raises:
            InvalidConversationId: the id is not valid.
        """
        conv_id = self._conversation.announced
        if conv_id is not None:
            self.task = self._begin(conv_id)
