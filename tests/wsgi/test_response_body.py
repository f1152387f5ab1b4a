"""The body of a WSGI response, read in process as a server reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmstream import Streams, SupervisorConfig, wsgi
from shmstream.process import host
from tests.support.supervisor import stop


@pytest.mark.parametrize('written', [b'', b'12'], ids=['no byte yet', 'all were read'])
def test_a_quiet_offset_gives_an_empty_part_first(
    streams: Streams, written: bytes
) -> None:
    """The server sends the response's head with it, and does not wait for a byte."""
    with streams.create('a') as producer:
        producer.write(written)
        body = wsgi.Body({}, streams.open('a'), len(written))
        assert next(body) == b''
        producer.write(b'3')
        assert next(body) == b'3'
        body.close()


def test_bytes_that_are_there_come_without_an_empty_part(streams: Streams) -> None:
    with streams.create('a') as producer:
        producer.write(b'12')
        body = wsgi.Body({}, streams.open('a'), 1)
        producer.finish()
        assert list(body) == [b'2']
        body.close()


def test_a_stream_that_has_ended_at_the_offset_gives_an_empty_part_and_ends(
    streams: Streams,
) -> None:
    with streams.create('a') as producer:
        producer.write(b'12')
    body = wsgi.Body({}, streams.open('a'), 2)
    assert list(body) == [b'']
    body.close()


class Server:
    """A server with workers, of which each has one thread."""

    def __init__(self) -> None:
        self.leaves = False
        self.beats = 0

    def masters(self) -> list[int] | None:
        return None

    def leaving(self) -> bool:
        return self.leaves

    def notify(self) -> None:
        self.beats += 1


def test_the_host_that_the_streams_are_attached_with_is_asked_and_told(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hears that the worker is alive, and says when the worker leaves."""
    server, other = Server(), Server()
    monkeypatch.setattr(host, '_host', other)
    with Streams.attach(
        directory, supervise=SupervisorConfig(), host=server
    ) as streams:
        streams.connect()
        producer = streams.create('a')
        producer.write(b'1')
        body = wsgi.Body({'wsgi.multithread': False}, streams.open('a'))
        assert next(body) == b'1'
        server.leaves = True
        with pytest.raises(ConnectionResetError, match='leaving'):
            next(body)
        body.close()
        supervisor = streams.status()['pid']
    stop(supervisor)
    assert server.beats
    assert not other.beats
