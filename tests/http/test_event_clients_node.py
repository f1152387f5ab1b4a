"""The events route with the clients of npm that resume by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.http.proxied import Proxied, proxied_service
from tests.support.event_source import Dispatched
from tests.support.followed import SHARED, Follow, sees_a_death
from tests.support.node import Script, needs_node

pytestmark = needs_node


class Told:
    """What a script says that it has got."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._events: list[Dispatched] = []

    def _hear(self) -> bool:
        said = self._script.hear()
        if said is not None:
            self._events.append(Dispatched(**said))
        return said is not None

    def until(self, count: int) -> list[Dispatched]:
        """Wait for as many events in all; return those that are there."""
        while len(self._events) < count:
            assert self._hear(), 'it has given up'
        return list(self._events)

    def rest(self) -> list[Dispatched]:
        """Wait until it has given up for good; return all events."""
        while self._hear():
            pass
        return list(self._events)


@pytest.fixture(params=['event_source', 'fetch_event_source'])
def follow(request: pytest.FixtureRequest) -> Follow:
    """Has a script follow the events at an address."""

    @contextlib.contextmanager
    def following(url: str) -> Iterator[Told]:
        with Script(f'{request.param}.js', url) as script:
            yield Told(script)

    return following


@pytest.mark.parametrize('scene', SHARED, ids=lambda scene: str(scene.__name__))
def test_each_event_comes_once(
    proxied: Proxied,
    follow: Follow,
    scene: Callable[[Proxied, Follow, str], None],
    request: pytest.FixtureRequest,
) -> None:
    scene(proxied, follow, request.node.name)


def test_the_death_of_the_worker_is_told(
    mortal: Proxied, follow: Follow, request: pytest.FixtureRequest
) -> None:
    sees_a_death(mortal, follow, request.node.name)


@pytest.fixture(scope='module')
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A service whose workers are killed, which its log may say."""
    with proxied_service(tmp_path_factory.mktemp('mortal') / 'service.log') as proxied:
        yield proxied
