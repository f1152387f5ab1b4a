"""The supervisor's answers to requests: the operations of ``control.wire``."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from shmstream import clock
from shmstream.control.wire import Message
from shmstream.errors import ControlError, NoRoom, ShmstreamError, StreamReplaced
from shmstream.ids import OWNER_BYTES
from shmstream.memory.worker_table import FORMAT
from shmstream.supervisor.config import SupervisorConfig
from shmstream.supervisor.connection import Connection
from shmstream.supervisor.master_watch import MasterWatch
from shmstream.supervisor.registry import Registry
from shmstream.supervisor.session import Key, Session
from shmstream.supervisor.workers import Workers
from shmstream.version import __version__

log = logging.getLogger('shmstream.supervisor')

PIECE = 512
"""Sessions that are described in one turn of the loop, which takes milliseconds."""

FACTS_PIECE = 128
"""The same for a list, which tells more of each session."""


class Operations:
    """Answers requests.

    Args:
        config: the limits, for ``status``.
        registry: the sessions.
        workers: the slots.
        masters: the processes that the supervisor works for.
    """

    def __init__(
        self,
        config: SupervisorConfig,
        registry: Registry,
        workers: Workers,
        masters: MasterWatch,
    ) -> None:
        self._config = config
        self._registry = registry
        self._workers = workers
        self._masters = masters
        self._operations: dict[str, Callable[[Connection, Message], None]] = {
            'hello': self._hello,
            'join': self._join,
            'leave': self._leave,
            'create': self._create,
            'cancel': self._cancel,
            'evict': self._evict,
            'withdraw': self._withdraw,
            'lookup': self._lookup,
            'alias': self._alias,
            'list': self._list,
            'status': self._status,
            'room': self._room,
        }

    def answer(self, connection: Connection, request: Message) -> None:
        """Carry out a request and queue the reply, or an error if that fails."""
        operation = self._operations.get(str(request.get('op')))
        try:
            if operation is None:
                raise ControlError(f'no such operation: {request.get("op")!r}')
            if operation != self._leave:
                if connection.hung_up:
                    return
                if clock.now_ns() > request.get('until', clock.now_ns()):
                    late = {'ok': False, 'error': 'the request came too late'}
                    connection.send(late | {'late': True})
                    return
            operation(connection, request)
        except NoRoom as ex:
            refusal = {'ok': False, 'error': str(ex), 'no_room': True}
            connection.send(refusal | {'soon': ex.soon, 'cause': ex.cause})
        except StreamReplaced as ex:
            connection.send({'ok': False, 'error': str(ex), 'replaced': ex.generation})
        except Exception as ex:
            if not isinstance(ex, ShmstreamError | KeyError | TypeError | ValueError):
                log.exception('%s failed', request['op'])
            connection.send({'ok': False, 'error': f'{type(ex).__name__}: {ex}'})

    def _hello(self, connection: Connection, request: Message) -> None:
        if connection.slot is not None:
            raise ControlError('hello was said already')
        if request.get('time_space', clock.TIME_SPACE) != clock.TIME_SPACE:
            raise ControlError(
                f'process {request["pid"]} is in another time namespace than the'
                ' supervisor: their clocks differ'
            )
        for pid in request['masters']:
            self._masters.watch(int(pid))
        connection.slot, connection.epoch = self._workers.hello(
            int(request['pid']), request.get('slot'), request.get('epoch')
        )
        # With one more worker, each worker's share becomes smaller.
        self._registry.look_at_room()
        connection.send(
            {'ok': True, 'slot': connection.slot, 'epoch': connection.epoch}
        )

    def _join(self, connection: Connection, request: Message) -> None:
        self._masters.watch(int(request['pid']))
        connection.send({'ok': True})

    def _leave(self, connection: Connection, request: Message) -> None:
        self._masters.leave(int(request['pid']))
        connection.send({'ok': True})
        connection.flush()

    def _create(self, connection: Connection, request: Message) -> None:
        if connection.slot is None:
            raise ControlError('hello first')
        owner, conv_id, asked_ns = _owner(request), str(request['id']), _asked(request)
        if request.get('again'):
            there = self._registry.find(owner, conv_id, None, clock.now_ns())
            if there is not None and there.asked_for_after(asked_ns):
                raise StreamReplaced(there.segment.generation)
        session, locked = self._registry.create(
            owner,
            conv_id,
            request.get('capacity'),
            connection.epoch,
            asked_ns,
            pending=bool(request.get('pending')),
        )
        connection.send_fd(
            {
                'ok': True,
                'generation': session.segment.generation,
                'digest': session.digest,
            },
            locked,
            functools.partial(self._registry.withdraw, session),
        )

    def _cancel(self, connection: Connection, request: Message) -> None:
        session = self._find(request)
        if session is not None:
            self._registry.cancel(session)
        connection.send({'ok': True, 'found': session is not None})

    def _evict(self, connection: Connection, request: Message) -> None:
        session = self._find(request)
        if session is not None:
            self._registry.evict(session)
        connection.send({'ok': True, 'found': session is not None})

    def _withdraw(self, connection: Connection, request: Message) -> None:
        session = self._find(request)
        if session is not None:
            self._registry.withdraw(session)
        connection.send({'ok': True, 'found': session is not None})

    def _find(self, request: Message) -> Session | None:
        return self._registry.find(
            _owner(request),
            str(request['id']),
            request.get('generation'),
            _asked(request),
        )

    def _lookup(self, connection: Connection, request: Message) -> None:
        ids = map(str, request['ids'])
        found = self._registry.lookup(_owner(request), ids)
        connection.send_pieces(self._described(found))

    def _alias(self, connection: Connection, request: Message) -> None:
        session = self._registry.aliased(_owner(request), str(request['alias']))
        found = session and [session.key[1], session.segment.generation]
        connection.send({'ok': True, 'found': found})

    def _list(self, connection: Connection, request: Message) -> None:
        owner = None if request.get('owner') is None else _owner(request)
        keys = self._registry.everything(
            owner, request.get('id'), str(request.get('after') or ''), _most(request)
        )
        slots = self._workers.slots

        def describe(keys: list[Key]) -> list[str]:
            taken = slots()
            return [json.dumps(f) for f in self._registry.facts(keys, taken)]

        connection.send_pieces(_pieces(keys, FACTS_PIECE, describe))

    def _described(self, keys: list[Key]) -> Iterator[str]:
        return _pieces(keys, PIECE, self._registry.describe)

    def _status(self, connection: Connection, _: Message) -> None:
        status: dict[str, Any] = {
            'ok': True,
            'pid': os.getpid(),
            'version': __version__,
            'format': FORMAT,
            'masters': self._masters.pids,
            'sessions': len(self._registry),
            'max_sessions': self._config.max_sessions,
            'memory': self._registry.memory(),
            'max_memory': self._config.max_memory,
            'workers': self._workers.number,
            'degraded': self._workers.degraded(),
        }
        connection.send(status)

    def _room(self, connection: Connection, _: Message) -> None:
        self._registry.look_at_room()
        connection.send({'ok': True})


def _pieces(
    keys: list[Key], size: int, describe: Callable[[list[Key]], list[str]]
) -> Iterator[str]:
    # Only keys are kept while the reply is sent, so that a peer that reads slowly keeps
    # no segment mapped.
    for at in range(0, max(len(keys), 1), size):
        piece = ','.join(describe(keys[at : at + size]))
        more = 'true' if at + size < len(keys) else 'false'
        yield f'{{"ok":true,"more":{more},"sessions":[{piece}]}}'


def _most(request: Message) -> int:
    most = request.get('most')
    return sys.maxsize if most is None else max(int(most), 0)


def _owner(request: Message) -> bytes:
    owner = bytes.fromhex(str(request['owner']))
    if len(owner) != OWNER_BYTES:
        raise ControlError(f'owner must be {OWNER_BYTES} bytes')
    return owner


def _asked(request: Message) -> int:
    # The time is never later than now, because the stream would then seem newer than a
    # stream that is asked for after it.
    now_ns = clock.now_ns()
    return max(min(int(request.get('asked', now_ns)), now_ns), 0)
