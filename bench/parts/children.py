"""A function in a process of its own, which does not outlive its parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

END_S = 10.0
_PR_SET_PDEATHSIG = 1

Line = Connection


def _run(function: Callable[..., object], line: Line, arguments: tuple[Any]) -> None:
    # Ctrl-C reaches the whole process group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    function(line, *arguments)


@contextmanager
def child(function: Callable[..., object], *arguments: Any) -> Iterator[Line]:
    """Run ``function(line, *arguments)``; yields the other end of the line.

    The process is spawned, not forked. If it does not end by itself soon after the
    block, it is killed.
    """
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(function, there, arguments))
    process.daemon = True
    process.start()
    there.close()
    try:
        yield here
        process.join(END_S)
    finally:
        here.close()
        if process.is_alive():
            process.kill()
        process.join()


def hear(line: Line, wait_s: float = 60.0) -> Any:
    """Return what the other end says next.

    Raises:
        TimeoutError: it says nothing.
        EOFError: it has ended.
    """
    if not line.poll(wait_s):
        raise TimeoutError(f'a child said nothing for {wait_s:.0f} s')
    return line.recv()
