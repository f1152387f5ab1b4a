"""What only the supervisor knows or does, by single requests without a slot."""

from __future__ import annotations

from shmstream.control.request import ask, connect
from shmstream.memory.directory import RuntimeDirectory


def answers(directory: RuntimeDirectory) -> bool:
    """Whether a supervisor listens; asks it nothing, and waits for nothing."""
    try:
        connect(directory, 0).close()
    except BlockingIOError:
        # It is there, and others connect to it.
        return True
    except OSError:
        return False
    return True


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
    reply = ask(directory, op, owner=owner.hex(), id=conv_id, generation=generation)
    return bool(reply['found'])
