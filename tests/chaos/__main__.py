"""``python -m tests.chaos --seed N --seconds S``: break everything, and count.

::

    content.py    what is streamed: every byte says where it belongs
    upstream.py   streams it
    wire.py       HTTP on raw sockets
    model.py      what is legal, and the bounds
    asking.py     what a reader may be told
    follow.py     a resuming reader, from its offset to its end
    client.py     what all clients do; readers
    owner.py      posts, stops, replaces
    uploads.py    large requests, and halves of them
    careless.py   who stops what he does not read
    strangers.py  many owners, and what is another's
    processes.py  the service's processes
    wall.py       its wall clock
    lives.py      a service that is killed with its namespace, and begins again
    limits.py     a service whose limits are within reach
    holdings.py   what it holds
    faults.py     what goes wrong
    promises.py   how soon a stream has to end
    verdict.py    what came of it
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import uvloop

from tests.chaos.client import Reader
from tests.chaos.content import CAPACITY
from tests.chaos.faults import WEIGHTS, Injector
from tests.chaos.limits import Limits
from tests.chaos.lives import Lives
from tests.chaos.model import DRAIN_S, GC_S, GRACEFUL_S, TTL_S, Chat, World
from tests.chaos.owner import Owner
from tests.chaos.processes import Processes
from tests.chaos.strangers import KEYS
from tests.chaos.upstream import Upstream
from tests.chaos.verdict import Verdict
from tests.chaos.wall import Wall
from tests.support.leaks import wait_until
from tests.support.service import Service

_STOP_S = 40.0
_CLIENTS_S = 45.0
_LEAK_S = 15.0
_KEEP_S = 60.0
_KNOWN_S = 3.0
_LIMITS = 'limits'
"""Is chosen as faults are, and goes on all the time."""

_FAULTS = (*WEIGHTS, _LIMITS)


def main() -> int:
    """Run it; exit code 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog='python -m tests.chaos')
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--seconds', type=float, default=60.0)
    parser.add_argument('--workers', type=int, default=3)
    parser.add_argument('--clients', type=int, default=100)
    parser.add_argument(
        '--faults',
        type=_faults,
        default=list(_FAULTS),
        help=f'by commas, of: {", ".join(WEIGHTS)}',
    )
    parser.add_argument('--dir', type=Path, help='for logs; default: a fresh one')
    args = parser.parse_args()
    logs = args.dir or Path(tempfile.mkdtemp(prefix='shmstream-chaos-'))
    logs.mkdir(parents=True, exist_ok=True)
    print(f'seed {args.seed}, {args.seconds:g} s, logs in {logs}', flush=True)
    verdict = Verdict(logs / 'chaos.log')
    uvloop.run(soak(args, logs, verdict))
    verdict.close()
    print('\n' + verdict.table(args.seed), flush=True)
    return 0 if verdict.good else 1


def _faults(text: str) -> list[str]:
    chosen = text.split(',')
    strangers = set(chosen) - set(_FAULTS)
    if strangers:
        raise argparse.ArgumentTypeError(f'no such fault: {", ".join(strangers)}')
    return chosen


async def soak(args: argparse.Namespace, logs: Path, verdict: Verdict) -> None:
    """Start everything, break it for a while, stop it and look what is left."""
    upstream = Upstream(args.seed)
    await upstream.start()
    conversations = max(args.clients // 3, 1)
    # Fresh ones have room beside them, unless many come at once.
    max_sessions = conversations + max(conversations // 2, 1)
    settings = {
        'UPSTREAM': upstream.url,
        'SESSION_BYTES': str(CAPACITY),
        'SESSION_TTL': str(TTL_S),
        'GC_INTERVAL': str(GC_S),
        'MAX_SESSIONS': str(max_sessions),
        'MAX_MEMORY': '1GiB',
        'DRAIN': str(DRAIN_S),
    }
    if 'strangers' in args.faults:
        settings['API_KEYS'] = ','.join(KEYS)
    wall = Wall.build(logs) if 'set-clock' in args.faults else None
    service = Service(
        logs / 'service.log',
        workers=args.workers,
        settings=settings,
        arguments=('--graceful-timeout', str(GRACEFUL_S)),
        environment=wall.environment if wall else {},
    )
    await asyncio.to_thread(service.__enter__)
    processes = Processes(service, verdict)
    world = World(service.port, max_sessions, verdict, processes, upstream)
    clients = _clients(world, args, conversations)
    lives = Lives(world, logs, random.Random(f'lives {args.seed}'))
    chosen = [fault for fault in args.faults if fault in WEIGHTS]
    injector = Injector(world, service, args.seed, list(clients), chosen, wall, lives)
    limits = Limits(args.seed, logs, verdict)
    beside = []
    if _LIMITS in args.faults:
        await limits.start()
        beside = [asyncio.create_task(limits.run())]
    around = [
        asyncio.create_task(processes.watch()),
        asyncio.create_task(_watch(world, args.seconds)),
    ]
    running = [asyncio.create_task(client.run()) for client in clients]
    faults = asyncio.create_task(injector.run())
    try:
        done, _ = await asyncio.wait(
            (*running, *beside, faults),
            timeout=args.seconds,
            return_when=asyncio.FIRST_EXCEPTION,
        )
        for task in done:
            _report(verdict, task)
        await _cancel(faults, *beside)
        service.guard.note()
        processes.judge_rest()
        world.judge_waits(world.now())
        world.stopping = True
        began = world.now()
        await asyncio.to_thread(_stop, service, verdict)
        verdict.took('stop of the service', world.now() - began)
        tasks = {*running, *injector.tasks}
        _, late = await asyncio.wait(tasks, timeout=_CLIENTS_S)
        for task in late:
            verdict.problem('hung', f'a client did not end: {task.get_stack()}')
        for task in tasks - late:
            _report(verdict, task)
        await _cancel(*late)
    finally:
        world.stopping = True
        await _cancel(*around, *running, *injector.tasks, *beside, faults)
        await upstream.stop()
        await asyncio.to_thread(_stop, service, verdict)
        left = await asyncio.to_thread(lives.stop) + await limits.stop()
    left += await asyncio.to_thread(_left, service)
    for what in left:
        verdict.problem('leaked', what)
    known = [generation for chat in world.chats for generation in chat.sessions]
    _read_log(service.text(), set(processes.killed), verdict, known)
    _read_log(lives.log(), set(), verdict)
    _read_log(limits.log(), set(), verdict)


def _clients(
    world: World, args: argparse.Namespace, conversations: int
) -> list[Owner | Reader]:
    """A third own a conversation, the rest read.

    With owners, two of them have a conversation of the same name each.
    """
    found: list[Owner | Reader] = []
    owners = 'strangers' in args.faults
    for number in range(conversations):
        i = number // 2 if owners else number
        name = (f'chat-{i}', f'chat {i}/\u00e4\u6f22', f'chat-{i}::org/model')[i % 3]
        key = KEYS[number % len(KEYS)] if owners else None
        world.chats.append(Chat(name, key=key))
    for i in range(args.clients):
        rng = random.Random(f'client {args.seed} {i}')
        kind = Owner if i < conversations else Reader
        found.append(kind(world, world.chats[i % conversations], rng))
    return found


async def _watch(world: World, seconds: float) -> None:
    """Measure how late we are ourselves, say how it goes, forget what is old."""
    began = due = world.now()
    shown = began
    while True:
        due += 0.1
        await asyncio.sleep(max(due - world.now(), 0))
        late = world.now() - due
        world.lag = max(late, world.lag * 0.98)
        world.machine.was_late(world.now(), late)
        world.verdict.took('we ourselves were late', late)
        due = max(due, world.now())
        if world.now() - shown < 1:
            continue
        shown = world.now()
        world.judge_waits(shown - _KNOWN_S)
        for nonce, script in list(world.upstream.scripts.items()):
            if shown - script.posted_at > _KEEP_S and script.how:
                del world.upstream.scripts[nonce]
        verdict = world.verdict
        faults = ' '.join(f'{k}:{n}' for k, n in verdict.faults.items())
        line = (
            f'{shown - began:4.0f}/{seconds:.0f} s, '
            f'{verdict.bytes_checked / 1e6:.0f} MB, {world.open} open, '
            f'{len(verdict.problems)} problems, {faults}'
        )
        end, start = ('', '\r') if sys.stdout.isatty() else ('\n', '')
        if end == '' or int(shown - began) % 10 == 0:
            print(f'{start}{line[:200]}', end=end, flush=True)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5)


def _report(verdict: Verdict, task: asyncio.Task[None]) -> None:
    """A client that fails is a bug of its own: do not pass over it."""
    if task.done() and not task.cancelled() and task.exception() is not None:
        text = ''.join(traceback.format_exception(task.exception()))
        verdict.problem('unexpected', f'the soak itself failed:\n{text}')


def _stop(service: Service, verdict: Verdict) -> None:
    """Stop the service, however long it takes."""
    process = service._process
    assert process is not None
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except Exception:
        verdict.problem('hung', f'the service did not stop in {_STOP_S} s')
        process.kill()
        process.wait()


def _left(service: Service) -> list[str]:
    wait_until(lambda: not service.guard.left(), _LEAK_S)
    return service.guard.left()


def _read_log(
    text: str, killed: set[int], verdict: Verdict, known: Iterable[str] = ()
) -> None:
    """Nothing may have failed unseen, and no worker died but by our hand."""
    for found in re.finditer(r'^Traceback .*(?:\n .*)*\n(\S.*)', text, re.MULTILINE):
        verdict.problem('unexpected', f'service.log: {found[0][-900:]}')
    for found in re.finditer(r'.*\(pid:(\d+)\) was sent SIG(\w+).*', text):
        if found[2] != 'TERM' and int(found[1]) not in killed:
            verdict.problem('unexpected', f'service.log: {found[0]}')
    for found in re.finditer(r'.*WORKER TIMEOUT.*', text):
        verdict.problem('unexpected', f'service.log: {found[0]}')
    # Each stream has one line at its end, whoever was killed.
    told = Counter(re.findall(r'stream ended: .*generation=([0-9a-f]{16})', text))
    verdict.notes['lines about streams'] += len(told)
    for generation, times in told.items():
        if times > 1:
            verdict.problem('doubled', f'service.log: {times} lines of {generation}')
    for generation in set(known) - set(told):
        verdict.problem('lost', f'service.log: no line of {generation}')


if __name__ == '__main__':
    sys.exit(main())
