"""Who runs a process: what the library asks, and of whom."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmstream import Streams, SupervisorConfig
from shmstream.process import host


class Server:
    """A server with workers."""

    def __init__(self, *masters: int) -> None:
        self.told = False
        self._masters = list(masters)

    def masters(self) -> list[int] | None:
        return self._masters

    def leaving(self) -> bool:
        return self.told

    def notify(self) -> None:
        pass


def masters(streams: Streams) -> list[int]:
    """Whom a supervisor that these start works for."""
    return streams._process.link._masters()


@pytest.mark.parametrize('supervise', [False, SupervisorConfig()])
def test_whom_nobody_runs_is_its_own_master_and_never_told_to_leave(
    directory: Path, supervise: SupervisorConfig | bool
) -> None:
    with Streams.attach(directory, supervise=supervise) as streams:
        assert masters(streams) == ([os.getpid()] if supervise else [])
        assert not streams.leaving()


@pytest.mark.parametrize('supervise', [False, SupervisorConfig()])
def test_an_orphan_has_no_master_not_even_itself(
    directory: Path, supervise: SupervisorConfig | bool
) -> None:
    with Streams.attach(directory, supervise=supervise, host=Server()) as streams:
        assert masters(streams) == []


def test_who_runs_the_process_may_be_said_after_it_has_attached(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, '_host', host.Nobody())
    with Streams.attach(directory) as streams:
        assert masters(streams) == []
        server = Server(1234)
        host.run_by(server)
        assert masters(streams) == [1234]
        assert not streams.leaving()
        server.told = True
        assert streams.leaving()
