"""SIGKILL at a chosen line: fault points everywhere, and none in the code itself."""

from __future__ import annotations

import contextlib
import dis
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

    # CPython 3.12 looks only as tracing begins whether anybody has asked for opcodes.
    sys._getframe().f_trace_opcodes = True
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


class Interrupted(Exception):
    """What a signal handler might raise."""


_LOOKS = {'RESUME', 'JUMP_BACKWARD', 'CALL', 'CALL_KW', 'CALL_FUNCTION_EX'}
"""Instructions after which CPython runs signal handlers."""


def _interrupt() -> None:
    raise Interrupted


def interrupt_at(
    number: int,
    *functions: Callable[..., Any],
    every: str,
    handler: Callable[[], object] = _interrupt,
) -> None:
    """Have ``Interrupted`` raised at one point of these, in this thread, and once.

    Args:
        number: counts the points, from 0.
        functions: whose points count.
        every: 'line', or 'signal' for wherever CPython would run a signal handler.
        handler: called there instead; what has raised is called no more.
    """
    codes: set[CodeType] = {function.__code__ for function in functions}
    names = {
        code: {each.offset: each.opname for each in dis.get_instructions(code)}
        for code in codes
    }
    before: dict[FrameType, str] = {}
    left = number

    def counts(frame: FrameType, event: str) -> bool:
        if every == 'line':
            return event == 'line'
        if event != 'opcode':
            return False
        now = names[frame.f_code][frame.f_lasti]
        looks = before.get(frame) in _LOOKS
        before[frame] = now
        # It would be the call's exception there, not that of the return. That is the
        # same where nothing that is ours catches it.
        ours = frame.f_code.co_filename != contextlib.__file__
        return looks and not (ours and now == 'RETURN_VALUE')

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code not in codes or left < 0:
            return None
        frame.f_trace_opcodes = True
        if counts(frame, event):
            left -= 1
            if left < 0:
                before.clear()
                sys.settrace(None)
                handler()
                return None
        return trace

    # CPython 3.12 looks only as tracing begins whether anybody has asked for opcodes.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
