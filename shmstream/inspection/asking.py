"""What only the supervisor knows or does, by single requests without a slot."""

from __future__ import annotations

from typing import Any

from shmstream.control.request import ask
from shmstream.errors import SupervisorUnavailable
from shmstream.memory.directory import RuntimeDirectory


def status(directory: RuntimeDirectory) -> dict[str, Any] | None:
    """Return what the supervisor reports; None if there is none, or if it is stuck.

    Blocks for the time of a request, some seconds at the most.
    """
    try:
        return ask(directory, 'status')
    except SupervisorUnavailable:
        return None


def stop(
    directory: RuntimeDirectory,
    owner: bytes,
    conv_id: str,
    generation: str,
    *,
    evict: bool = False,
) -> bool:
    """Stop a stream, whoever owns it; return whether it was still there.

    Args:
        directory: the runtime directory.
        owner: the name space.
        conv_id: the conversation id.
        generation: a newer stream with this id is left alone.
        evict: remove the stream as well.

    Raises:
        SupervisorUnavailable: no supervisor answered within some seconds.
    """
    op = 'evict' if evict else 'cancel'
    fields = {'owner': owner.hex(), 'id': conv_id, 'generation': generation}
    return bool(ask(directory, op, **fields)['found'])
