"""``Streams``: a process's way into a deployment."""

from __future__ import annotations

import io
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shmstream.consumer import Consumer
from shmstream.dialects.framing import EVENT_STREAM
from shmstream.errors import (
    LocalError,
    NoRoom,
    StreamNotFound,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.ids import NOBODY, digest, validate_id
from shmstream.memory.directory import RuntimeDirectory, directory_from_environment
from shmstream.process import host as hosts
from shmstream.process.attachment import Attachment, attach
from shmstream.process.host import Host
from shmstream.process.live_producers import CLOSED
from shmstream.process.this_process import ThisProcess
from shmstream.producer import Producer
from shmstream.stream_end import DID_NOT_BEGIN
from shmstream.supervisor.config import SupervisorConfig

_SOON_S = 1.5
"""How long a new stream waits for the memory of one that has just been evicted: longer
than a process takes to let go of what nobody in it reads."""

_AGAIN_S = 0.05

_attached: weakref.WeakSet[Streams] = weakref.WeakSet()


class Streams:
    """The streams of one deployment. Make it with ``attach``.

    All methods may be called from any thread. Those that ask the supervisor
    (``create``, ``cancel``, ``evict``, ``lookup``, ``list``, ``status``) wait for its
    reply, some seconds at the most; on an event loop call them through
    ``asyncio.to_thread``. ``open`` asks nobody.

    An ``owner`` is a name space: 32 bytes, by default nobody's. The same id of two
    owners is two streams.
    """

    def __init__(self, attach: Callable[[], Attachment]) -> None:
        self._attach = attach
        self._attached_now: Attachment | None = None
        # Reentrant: a signal handler may need it in the middle of its first use.
        self._lock = threading.RLock()
        _attached.add(self)

    @classmethod
    def attach(
        cls,
        directory: Path | str | None = None,
        *,
        supervise: SupervisorConfig | bool = False,
        host: Host | None = None,
    ) -> Streams:
        """Join the deployment of a runtime directory. Starts and opens nothing yet.

        However often a process attaches, it has one part in the deployment: a slot, a
        thread and a connection, as long as there is a ``Streams`` of that directory in
        use, or a producer, consumer or follower that one has made.

        Args:
            directory: the runtime directory, default ``$SHMSTREAM_DIR``, or else
                ``/dev/shm/shmstream-<uid>``.
            supervise: start a supervisor if there is none, with these settings (those
                of the process's first that has some); it leaves with this process.
                Under gunicorn the hooks have started one, which leaves with the master.
            host: who runs this process; by default as the deployment has said, by
                ``process.host.run_by``: gunicorn, if its hooks are installed.

        Raises:
            SettingsError: ``$SHMSTREAM_DIR`` is needed and not an absolute path.
        """
        path = directory_from_environment() if directory is None else Path(directory)
        where = RuntimeDirectory(path.absolute())
        config = SupervisorConfig() if supervise is True else supervise or None

        # Asked anew each time: an application attaches before its worker is forked.
        def masters() -> list[int]:
            found = (host or hosts.current()).masters()
            if found is not None:
                return found
            return [os.getpid()] if supervise else []

        def leaving() -> bool:
            return (host or hosts.current()).leaving()

        return cls(lambda: attach(where, config, masters, leaving))

    @property
    def attachment(self) -> Attachment:
        """What we hold of this process's part, from our first use after a fork."""
        with self._lock:
            if self._attached_now is None:
                attachment = self._attach()
                # Unless a signal handler has needed it meanwhile.
                if self._attached_now is None:
                    self._attached_now = attachment
            return self._attached_now

    @property
    def process(self) -> ThisProcess:
        """This process's part in the deployment."""
        return self.attachment.process

    @property
    def followers(self) -> int:
        """Followers in this process, of all streams."""
        return self.process.followers.number

    def leaving(self) -> bool:
        """Whether this process has been told to stop; for ``follow(leave=...)``."""
        return self.process.leaving()

    def connect(self) -> None:
        """Connect to the supervisor now rather than at the first need.

        Raises:
            SupervisorUnavailable: there is none.
        """
        self.process.connect()

    def create(
        self,
        conv_id: str,
        *,
        content_type: str = EVENT_STREAM,
        pending: bool = False,
        capacity: int | None = None,
        owner: bytes = NOBODY,
    ) -> Producer:
        """Make a stream; what had this id is cancelled and evicted.

        Args:
            conv_id: 1 to 512 bytes of UTF-8 without control characters.
            content_type: the media type of its bytes.
            pending: do not say yet that it has begun, nor its type: ``Producer.begin``
                does.
            capacity: bytes of its ring, default as the deployment is set.
            owner: the name space.

        Raises:
            InvalidConversationId: as it says.
            NoRoom: limits are reached and nothing finished can go.
            StreamReplaced: the supervisor died meanwhile, and before its successor was
                asked again somebody else has made a newer one.
            SupervisorUnavailable: nobody answered within some seconds, or this was
                closed meanwhile.
        """
        validate_id(conv_id)
        attachment = self.attachment
        process = attachment.process
        process.connect()
        lock: io.FileIO | None = None
        made: list[Producer] = []
        try:
            lock = _ask_for_stream(
                process, owner=owner.hex(), id=conv_id, capacity=capacity
            )
            if lock is None:
                # The kernel drops it when we have no descriptor left.
                raise NoRoom('no descriptor left for the stream')
            segment = process.mappings.share_locked(lock.fileno())
            # By C code into the list: a handler that raises as it returns leaves no
            # producer that nobody knows.
            made.extend(map(Producer, (attachment,), (segment,), (lock,)))
            if not pending:
                _begin(made[0], content_type)
            return made[0]
        except BaseException:
            # Whoever keeps the exception keeps what these names stand for.
            if made:
                made[0].abort(DID_NOT_BEGIN)
            elif lock is not None:
                lock.close()
            raise

    def open(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> Consumer:
        """Return a consumer of the stream with this id.

        Args:
            conv_id: the conversation id.
            generation: refuse any other session than this one.
            owner: the name space.

        Raises:
            InvalidConversationId: as it says.
            StreamNotFound: there is none.
            StreamReplaced: there is one of another generation.
        """
        attachment = self.attachment
        segment = attachment.process.mappings.attach(digest(owner, conv_id))
        if segment.evicted:
            raise StreamNotFound('stream not found or expired')
        if generation not in (None, segment.generation):
            raise StreamReplaced(segment.generation)
        return Consumer(attachment, segment)

    def cancel(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Tell the producer to stop, wherever it runs; what there is stays readable.

        Returns:
            Whether there was such a stream (of that generation, if one is given).

        Raises:
            InvalidConversationId: as it says.
            SupervisorUnavailable: nobody answered within some seconds.
        """
        return self._stop('cancel', conv_id, generation, owner)

    def evict(
        self, conv_id: str, *, generation: str | None = None, owner: bytes = NOBODY
    ) -> bool:
        """Cancel the stream and remove it; returns and raises as ``cancel``."""
        return self._stop('evict', conv_id, generation, owner)

    def _stop(
        self, op: str, conv_id: str, generation: str | None, owner: bytes
    ) -> bool:
        validate_id(conv_id)
        reply, _ = self.process.link.client.request(
            op, owner=owner.hex(), id=conv_id, generation=generation
        )
        return bool(reply['found'])

    def lookup(
        self, conv_ids: list[str], *, owner: bytes = NOBODY
    ) -> list[dict[str, Any]]:
        """Describe each stream whose id is one of these, or begins with it and ``::``.

        Returns:
            For each: conversation_id, is_done, total_bytes, started_at and
            completed_at (unix seconds, 0 until the end), dropped_prefix, state,
            generation. In the order asked, no stream twice.

        Raises:
            SupervisorUnavailable: nobody answered within some seconds.
        """
        reply, _ = self.process.link.client.request(
            'lookup', owner=owner.hex(), ids=conv_ids
        )
        sessions: list[dict[str, Any]] = reply['sessions']
        return sessions

    def list(self) -> list[dict[str, Any]]:
        """Describe all streams of all owners. For tools: never show it to clients.

        Raises:
            SupervisorUnavailable: nobody answered within some seconds.
        """
        sessions: list[dict[str, Any]] = self.process.link.client.request('list')[0][
            'sessions'
        ]
        return sessions

    def status(self) -> dict[str, Any]:
        """What the supervisor says of itself: pid, masters, sessions, memory.

        Raises:
            SupervisorUnavailable: nobody answered within some seconds.
        """
        return self.process.link.client.request('status')[0]

    def close(self) -> None:
        """Let go of all that it has made: what it still produces is aborted.

        Threads end, and the process leaves, unless others here have attached as well.
        """
        with self._lock:
            attachment, self._attached_now = self._attached_now, None
        if attachment is not None:
            attachment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it.
        self._lock = threading.RLock()
        self._attached_now = None


def _begin(producer: Producer, content_type: str) -> None:
    try:
        producer.begin(content_type)
    except LocalError as ex:
        # Nobody else has it: who has ended it closes all that its attachment has.
        raise SupervisorUnavailable(CLOSED) from ex


def _ask_for_stream(process: ThisProcess, **fields: Any) -> io.FileIO | None:
    give_up_at = time.monotonic() + _SOON_S
    while True:
        try:
            return process.link.client.request('create', **fields)[1]
        except NoRoom as ex:
            if not ex.soon or time.monotonic() >= give_up_at:
                raise
        time.sleep(_AGAIN_S)


def _forget_parents() -> None:
    for streams in list(_attached):
        streams._after_fork()


os.register_at_fork(after_in_child=_forget_parents)
