"""What a process asks the supervisor: to stop streams, and to describe them."""

from __future__ import annotations

import asyncio
from typing import Any

from shmstream.attaching import Attaching
from shmstream.ids import NOBODY, validate_id


class Asking(Attaching):
    """The part of ``Streams`` that asks the supervisor about streams that are there."""

    def stop(
        self,
        conv_id: str,
        *,
        generation: str | None = None,
        owner: bytes = NOBODY,
        evict: bool = False,
    ) -> bool:
        """Stop a stream: its producer in whatever process, and its readers for good.

        The readers get a clean end, which tells the stop in the stream's dialect, at
        once, also while the source is silent. What was written stays readable, in the
        state ``cancelled``, until the stream expires. ``stop`` does not wait for any of
        that: it blocks until the supervisor has answered, some seconds at the most.

        Args:
            conv_id: the conversation id.
            generation: stop no stream of any other generation.
            owner: the name space.
            evict: remove the stream as well: nobody finds it any more.

        Returns:
            Whether there was such a stream.

        Raises:
            InvalidConversationId: the id is not of the form that ``create`` takes.
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            streams.stop('chat-1', generation=started.generation)
        """
        return self._stop('evict' if evict else 'cancel', conv_id, generation, owner)

    async def astop(
        self,
        conv_id: str,
        *,
        generation: str | None = None,
        owner: bytes = NOBODY,
        evict: bool = False,
    ) -> bool:
        """As ``stop``, on an event loop: blocks nothing.

        Example::

            await streams.astop('chat-1')
        """
        return await asyncio.to_thread(
            self.stop, conv_id, generation=generation, owner=owner, evict=evict
        )

    def cancel(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Tell the producer to stop, in whatever process it runs.

        The bytes that it has written so far stay readable. Blocks until the supervisor
        has answered, some seconds at the most.

        Returns:
            Whether there was such a stream (of that generation, if one is given).

        Raises:
            InvalidConversationId: the id is not of the form that ``create`` takes.
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            if not streams.cancel('chat-1'):
                print('there is no such stream')
        """
        return self._stop('cancel', conv_id, generation, owner)

    def evict(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Cancel the stream and remove it; blocks, returns and raises as ``cancel``.

        Example::

            streams.evict('chat-1')
        """
        return self._stop('evict', conv_id, generation, owner)

    def withdraw(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Take back a pending stream: the stream that it replaced is found again.

        Blocks, returns and raises as ``cancel``.

        Example::

            pending = streams.create('chat-1', pending=True)
            streams.withdraw('chat-1', generation=pending.generation)
        """
        return self._stop('withdraw', conv_id, generation, owner)

    def _stop(
        self, op: str, conv_id: str, generation: str | None, owner: bytes
    ) -> bool:
        validate_id(conv_id)
        reply, _ = self._process.link.client.request(
            op, owner=owner.hex(), id=conv_id, generation=generation
        )
        return bool(reply['found'])

    def lookup(
        self, conv_ids: list[str], *, owner: bytes = NOBODY
    ) -> list[dict[str, Any]]:
        """Describe each stream whose id is one of these or begins with one and ``::``.

        Blocks until the supervisor has answered, some seconds at the most.

        Returns:
            For each stream: conversation_id, is_done, total_bytes, started_at and
            completed_at (unix seconds, 0 until the end), dropped_prefix, state,
            generation. The order is that of ``conv_ids``; no stream comes twice.

        Raises:
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            for found in streams.lookup(['chat-1', 'chat-2']):
                print(found['conversation_id'], found['total_bytes'], found['is_done'])
        """
        reply, _ = self._process.link.client.request(
            'lookup', owner=owner.hex(), ids=conv_ids
        )
        sessions: list[dict[str, Any]] = reply['sessions']
        return sessions

    def _find_alias(self, alias: str, owner: bytes) -> tuple[str, str] | None:
        """Return id and generation of the stream with this alias; None: no stream."""
        reply, _ = self._process.link.client.request(
            'alias', owner=owner.hex(), alias=alias
        )
        found = reply['found']
        return (found[0], found[1]) if found else None

    def list(
        self,
        *,
        owner: bytes | None = None,
        conv_id: str | None = None,
        after: str = '',
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        """Describe the streams of one owner, or of all owners.

        The list of all owners is for tools: no client may see it. Blocks as ``lookup``.

        Args:
            owner: the name space; None: all owners.
            conv_id: describe the stream with this id only; of each owner, if there are
                several.
            after: describe only streams whose ids come after this one, in the order of
                their characters.
            most: describe so many streams, at most. Those of one owner are the first
                ones in the order of their ids, so that the next page begins ``after``
                the last of them.

        Returns:
            For each stream what ``lookup`` returns, and: owner (bytes, which all
            methods take), capacity and memory (bytes), followers (in all processes),
            worker (the process that writes the stream, None if it has gone),
            content_type, dialect, alias, and failure (the reason, if the stream cannot
            tell it).

        Raises:
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            for found in streams.list():
                if found['state'] == 'live':
                    streams.stop(found['conversation_id'], owner=found['owner'])
        """
        reply, _ = self._process.link.client.request(
            'list',
            owner=None if owner is None else owner.hex(),
            id=conv_id,
            after=after,
            most=most,
        )
        sessions: list[dict[str, Any]] = reply['sessions']
        for session in sessions:
            session['owner'] = bytes.fromhex(session['owner'])
        return sessions

    def status(self) -> dict[str, Any]:
        """Return what the supervisor reports: its pid, masters, sessions and memory.

        Blocks as ``lookup``.

        Raises:
            SupervisorUnavailable: no supervisor answered within some seconds.

        Example::

            print(streams.status()['sessions'], 'streams')
        """
        return self._process.link.client.request('status')[0]
