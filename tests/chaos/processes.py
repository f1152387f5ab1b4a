"""The service's processes: who lives, who was killed, who was told to leave."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

from tests.chaos.promises import SUPERVISORS, Delays, Stops
from tests.chaos.verdict import Verdict
from tests.support.leaks import processes
from tests.support.service import Service

LEAVE_S = 40.0
"""As long as a worker that was told to leave may take on a busy machine."""

_LOOK_S = 0.1
_UP = re.compile(r'\[(\d+)\] \[INFO\] ASGI server listening')
_SUPERVISORS_S = 0.5


class Processes:
    """Looks at them all the time.

    Attributes:
        gone: workers that have ended, and when that was seen.
        killed: workers that we have killed, and when.
        told_to_leave: when workers were (HUP, TTOU).
        leaving: those who were.
        supervisors_killed: when we did.
        supervisors_stopped: when we did, for longer than a request waits.
        stops: who was stopped, and when.
        delays: who was not let run, and for how long.
    """

    def __init__(self, service: Service, verdict: Verdict) -> None:
        self._service = service
        self._verdict = verdict
        self.known: dict[int, float] = {}
        self.gone: dict[int, float] = {}
        self.killed: dict[int, float] = {}
        self.told_to_leave: list[float] = []
        self.leaving: set[int] = set()
        self.supervisors_killed: list[float] = []
        self.supervisors_stopped: list[float] = []
        self.stops = Stops()
        self.delays = Delays()
        self._serving: list[int] = []
        self._look_again = 0.0
        self._cuts: list[tuple[float, int, str]] = []

    def workers(self) -> list[int]:
        """The workers that live now, oldest first."""
        master = self._service.master
        found = []
        try:
            children = Path(f'/proc/{master}/task/{master}/children').read_text()
        except OSError:
            return []
        for pid in map(int, children.split()):
            try:
                if b'gunicorn' in Path(f'/proc/{pid}/cmdline').read_bytes():
                    found.append(pid)
            except OSError:
                continue
        return sorted(found)

    def serving(self) -> list[int]:
        """Those of them that are up, and were not told to leave.

        As long as there is nobody else, none of these may be killed: on a machine that
        is busy, workers would be killed for ever before they are up, and nobody served.
        """
        up = {int(pid) for pid in _UP.findall(self._service.text())}
        return [pid for pid in self.workers() if pid in up - self.leaving]

    def supervisors(self) -> list[int]:
        """The supervisors of this deployment."""
        directory = str(self._service.directory)
        return [
            pid
            for pid in processes('shmstream.supervisor')
            if directory in _command(pid)
        ]

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """Signal one of these processes; False if it has gone."""
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def kill_worker(self, pid: int) -> None:
        """SIGKILL a worker."""
        self.killed[pid] = asyncio.get_running_loop().time()
        self.signal(pid, signal.SIGKILL)

    def kill_supervisors(self) -> list[int]:
        """SIGKILL the supervisor; the pids of those that were killed."""
        found = self.supervisors()
        for pid in found:
            self.supervisors_killed.append(asyncio.get_running_loop().time())
            self.signal(pid, signal.SIGKILL)
        return found

    async def stop_for(self, pid: int, seconds: float, name: int) -> None:
        """SIGSTOP a process, and let it go on after a while.

        Args:
            pid: which.
            seconds: how long.
            name: what it is called in ``stops``.
        """
        began = asyncio.get_running_loop().time()
        due = began + seconds
        self.stops.stopped(name, began, due)
        try:
            self.signal(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
        finally:
            self.signal(pid, signal.SIGCONT)
            self.stops.stopped(name, due, asyncio.get_running_loop().time())

    async def watch(self) -> None:
        """Look on for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """See who has come and gone, and judge the cuts that waited for it."""
        now = asyncio.get_running_loop().time()
        alive = self.workers()
        for pid in alive:
            self.delays.look(pid, pid, now)
        if now >= self._look_again:
            # To go through all processes of the machine takes a while itself.
            self._look_again = now + _SUPERVISORS_S
            self._serving = self.supervisors()
        for pid in self._serving:
            self.delays.look(SUPERVISORS, pid, now)
        for pid in alive:
            self.known.setdefault(pid, now)
        for pid in self.known:
            if pid not in alive:
                self.gone.setdefault(pid, now)
        waiting = []
        for at, pid, text in self._cuts:
            if pid in self.gone or pid in self.killed:
                continue
            if now - at > LEAVE_S:
                self._verdict.problem('unexpected', f'{text}; worker {pid} lives on')
            else:
                waiting.append((at, pid, text))
        self._cuts = waiting

    def judge_cut(self, pid: int, text: str) -> None:
        """A response of this worker was cut: it must be on its way out."""
        now = asyncio.get_running_loop().time()
        self._cuts.append((now, pid, text))

    def judge_rest(self) -> None:
        """The service is told to stop now: judge the cuts that still wait."""
        self.look()
        now = asyncio.get_running_loop().time()
        for at, pid, text in self._cuts:
            if not self.left_between(at - LEAVE_S, now):
                self._verdict.problem('unexpected', f'{text}; worker {pid} lives on')
        self._cuts = []

    def left_between(self, since: float, until: float) -> bool:
        """Whether workers were told to leave then."""
        return any(since <= at <= until for at in self.told_to_leave)

    def trouble_since(self, since: float) -> bool:
        """Whether any worker was killed, left or ended since then."""
        return (
            any(at >= since for at in self.killed.values())
            or any(at >= since for at in self.gone.values())
            or any(at >= since - LEAVE_S for at in self.told_to_leave)
        )

    def dropped_by(self, asked_at: float) -> str:
        """Say who may have dropped a request of then unanswered; '' if nobody."""
        if any(
            at >= asked_at - 1 for at in (*self.killed.values(), *self.gone.values())
        ):
            return 'requests lost with a worker that ended'
        now = asyncio.get_running_loop().time()
        if self.left_between(asked_at - LEAVE_S, now):
            return 'requests dropped by a leaving worker'
        return ''

    def killed_or_gone(self, pid: int | None, since: float) -> bool:
        """Whether this worker, or if it is not known any, has ended since then."""
        if pid is not None:
            return pid in self.killed or pid in self.gone or pid not in self.workers()
        return any(at >= since for at in (*self.killed.values(), *self.gone.values()))


def _command(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/cmdline').read_bytes().decode(errors='replace')
    except OSError:
        return ''
