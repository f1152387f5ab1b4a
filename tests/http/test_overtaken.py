"""Streams that are longer than their ring."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.http.proxied import Feed, Proxied
from tests.http.wire import (
    assert_error,
    connect,
    numbered,
    parse,
    read_to_end,
    unchunk,
)
from tests.support.client import path
from tests.support.leaks import wait_until

RING = 65536
FLOOD = 24 << 20
"""More than the sockets between a worker and a reader that does not read can hold."""

FLOOD_CHUNK = 1 << 16


def counts(proxied: Proxied, conv_id: str) -> tuple[int, int]:
    """Dropped prefix and total bytes, as HEAD tells them."""
    # From where nothing can be lost: HEAD refuses a lost offset as GET does.
    headers = proxied.client.call('HEAD', path(conv_id, 2**62)).headers
    return int(headers['stream-dropped-prefix']), int(headers['stream-total-bytes'])


def fill(proxied: Proxied, conv_id: str, data: bytes, piece: int) -> Feed:
    """A live stream of these bytes whose POST's client has left."""
    first = 16
    feed = proxied.feed(first=data[:first])
    proxied.post(conv_id, feed).close()
    for at in range(first, len(data), piece):
        feed.send(data[at : at + piece])
    assert wait_until(lambda: counts(proxied, conv_id)[1] == len(data), 20)
    return feed


def check_lost(proxied: Proxied, conv_id: str, data: bytes, ring: int) -> None:
    """What of a long stream can be read, and what is said of the rest."""
    dropped, total = counts(proxied, conv_id)
    assert total == len(data)
    assert dropped == total - ring
    (found,) = proxied.client.lookup(conv_id)
    assert (found['dropped_prefix'], found['total_bytes']) == (dropped, total)
    for offset in (0, 1, dropped - 1):
        for target in (
            path(conv_id, offset),
            f'/v1/stream?conv_id={conv_id}&from={offset}',
        ):
            reply = proxied.client.get(target)
            error = assert_error(reply, 400, 'Stream offset lost, please restart')
            assert error['dropped_prefix'] == dropped
            assert error['total_bytes'] == total


@pytest.mark.parametrize('piece', [1000, 16384, 65536, 100_001])
def test_an_offset_that_has_been_dropped_is_lost(proxied: Proxied, piece: int) -> None:
    data = numbered(200_000)
    conv_id = f'lost-{piece}'
    feed = fill(proxied, conv_id, data, piece)
    check_lost(proxied, conv_id, data, RING)
    dropped = len(data) - RING
    with proxied.client.open('GET', path(conv_id, dropped)) as reader:
        assert reader.until(RING) == data[dropped:]
        feed.end()
        assert reader.rest() == data[dropped:]
        assert reader.whole
    check_lost(proxied, conv_id, data, RING)
    for offset in (dropped, dropped + 1, len(data) - 1):
        reply = proxied.client.get(path(conv_id, offset))
        assert reply.headers['content-length'] == str(len(data) - offset)
        assert reply.body == data[offset:]


def test_a_ring_that_is_exactly_full_has_lost_nothing(proxied: Proxied) -> None:
    data = numbered(RING)
    fill(proxied, 'full', data, 4096).end()
    assert wait_until(lambda: bool(proxied.client.lookup('full')[0]['is_done']))
    assert proxied.client.get(path('full', 0)).body == data


def test_six_megabytes_leave_the_last_four(proxy: Callable[..., Proxied]) -> None:
    proxied = proxy(SESSION_BYTES='')
    data = numbered(6_000_000)
    feed = fill(proxied, 'six', data, 100_000)
    feed.end()
    assert wait_until(lambda: bool(proxied.client.lookup('six')[0]['is_done']))
    check_lost(proxied, 'six', data, 4 << 20)
    dropped = len(data) - (4 << 20)
    reply = proxied.client.get(path('six', dropped))
    assert reply.whole
    assert reply.headers['content-length'] == str(4 << 20)
    assert reply.body == data[dropped:]


def begin_reading(proxied: Proxied, conv_id: str) -> tuple[socket.socket, bytes]:
    """Follow a stream from its start; returns once the headers have come."""
    sock = connect(proxied.service.port, receive_buffer=4096)
    sock.sendall(f'GET {path(conv_id)} HTTP/1.1\r\nHost: x\r\n\r\n'.encode())
    return sock, sock.recv(1024)


@pytest.mark.parametrize('finished', [False, True], ids=['live', 'finished'])
def test_a_reader_that_is_overtaken_is_cut_off(
    proxied: Proxied, finished: bool
) -> None:
    conv_id = f'overtaken-{finished}'
    data = numbered(FLOOD)
    feed = proxied.feed(first=data[:FLOOD_CHUNK])
    proxied.post(conv_id, feed).close()
    sock, answer = begin_reading(proxied, conv_id)
    with sock:
        for at in range(FLOOD_CHUNK, FLOOD, FLOOD_CHUNK):
            feed.send(data[at : at + FLOOD_CHUNK])
        if finished:
            feed.end()
        # Nobody waits for the one who does not read.
        assert wait_until(lambda: counts(proxied, conv_id)[1] == FLOOD, 30)
        if finished:
            assert feed.over.wait(10)
        raw = parse(answer + read_to_end(sock))
    assert raw.all('transfer-encoding') == ['chunked']
    got, whole = unchunk(raw.body)
    assert not whole
    assert len(got) < FLOOD
    assert data.startswith(got)
    # It knows where it was, and is told what is left.
    reply = proxied.client.get(path(conv_id, len(got)))
    error = assert_error(reply, 400, 'Stream offset lost')
    assert error['dropped_prefix'] == FLOOD - RING


def test_a_reader_that_is_overtaken_delays_no_other(proxied: Proxied) -> None:
    # Each step is half a ring: a reader that keeps up has time for all of them.
    step = RING // 2
    data = numbered(FLOOD // 4)
    feed = proxied.feed(first=data[:step])
    # For the POST's own client, if it stayed, the source would wait.
    proxied.post('both', feed).close()
    sock, _ = begin_reading(proxied, 'both')
    with sock, proxied.client.open('GET', path('both')) as reader:
        for at in range(step, len(data), step):
            assert reader.until(at) == data[:at]
            feed.send(data[at : at + step])
        feed.end()
        assert reader.rest() == data
        assert reader.whole
