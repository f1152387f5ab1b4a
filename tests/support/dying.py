"""SIGKILL at a chosen line: fault points everywhere, and none in the code itself."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def die_at(number: int, *functions: Callable[..., Any]) -> None:
    """Have this process kill itself at the ``number``-th line of these, in this thread.

    Args:
        number: counts the lines that are about to be executed, from 0.
        functions: whose lines count.
    """
    codes: set[CodeType] = {function.__code__ for function in functions}
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code not in codes:
            return None
        if event == 'line':
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return trace

    sys.settrace(trace)


def forked(act: Callable[[], object]) -> bool:
    """Act in a forked child; whether it has survived it. Any other end is an error."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            act()
            code = 0
        finally:
            sys.settrace(None)
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code == 0
