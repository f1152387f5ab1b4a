"""Signal handlers that use what they have interrupted: none waits for itself."""

from __future__ import annotations

import pytest

from shmstream import Streams
from tests.api import handling
from tests.support.child import Child


@pytest.mark.parametrize('what', ['join', 'room', 'bells', 'hubs'])
def test_a_handler_may_use_what_it_interrupts_at_any_point(
    streams: Streams, what: str
) -> None:
    with Child(handling.handle, streams._process.directory.path, what) as child:
        assert child.hear() > 5
