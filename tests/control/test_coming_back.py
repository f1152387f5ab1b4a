"""A request while there is no supervisor, and the requests soon after it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmstream import SupervisorUnavailable
from shmstream.control import client as control_client
from shmstream.control.client import ControlClient
from shmstream.memory.directory import RuntimeDirectory
from tests.supervisor.conftest import Start

A_MINUTE_S = 60.0


@pytest.fixture
def client(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlClient]:
    """Waits briefly for a supervisor, and then for a minute no more."""
    monkeypatch.setattr(control_client, 'CONNECT_S', 0.1)
    monkeypatch.setattr(control_client, '_FAIL_FAST_S', A_MINUTE_S)
    hello = {'pid': 0, 'masters': []}
    client = ControlClient(
        RuntimeDirectory(directory), lambda: None, lambda: hello, lambda _: None
    )
    yield client
    client.close()


def vain(client: ControlClient) -> str:
    with pytest.raises(SupervisorUnavailable) as caught:
        client.request('status')
    return str(caught.value)


def test_a_supervisor_that_is_back_is_used_at_once(
    client: ControlClient, start: Start
) -> None:
    """Under load one takes longer to start than a request waits for it."""
    assert 'no supervisor' in vain(client)
    assert 'still not there' in vain(client)
    process = start()
    assert client.request('status')[0]['pid'] == process.pid


def test_one_that_is_there_and_does_not_answer_is_waited_for_once(
    directory: Path, client: ControlClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks a supervisor that hangs must not wait behind all others who did."""
    monkeypatch.setattr(control_client, 'REPLY_S', 0.2)
    where = RuntimeDirectory(directory)
    where.create()
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(where.socket))
        hanging.listen()
        assert 'no supervisor' in vain(client)
        assert 'still not there' in vain(client)
    where.socket.unlink()
    where.sessions.rmdir()
    where.path.rmdir()
