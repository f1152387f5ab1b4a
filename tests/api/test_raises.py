"""What asking the supervisor may raise is said where it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shmstream import NoRoom, StreamReplaced, Streams, SupervisorUnavailable
from shmstream.control.client import ControlClient

GONE, FULL, NEWER = SupervisorUnavailable('gone'), NoRoom('full'), StreamReplaced('0')


@pytest.mark.parametrize(
    ('method', 'ask', 'errors'),
    [
        (Streams.create, lambda s: s.create('a'), (GONE, FULL, NEWER)),
        (Streams.cancel, lambda s: s.cancel('a'), (GONE,)),
        (Streams.evict, lambda s: s.evict('a'), (GONE,)),
        (Streams.lookup, lambda s: s.lookup(['a']), (GONE,)),
        (Streams.list, lambda s: s.list(), (GONE,)),
        (Streams.status, lambda s: s.status(), (GONE,)),
    ],
)
def test_what_it_raises_it_says(
    streams: Streams,
    monkeypatch: pytest.MonkeyPatch,
    method: Callable[..., object],
    ask: Callable[[Streams], object],
    errors: tuple[Exception, ...],
) -> None:
    streams.connect()
    said = method.__doc__ or ''
    if 'raises as ``cancel``' in said:
        said = Streams.cancel.__doc__ or ''
    _, _, raises = said.partition('Raises:')
    for error in errors:

        def refuse(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(ControlClient, 'request', refuse)
            with pytest.raises(type(error)):
                ask(streams)
        assert f'{type(error).__name__}:' in raises
