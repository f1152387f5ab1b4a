"""Writes live streams into a peer, at a pace, in a process of its own.

    python -m bench.peers.writer KIND TARGET PREFIX STREAMS

Makes the streams, writes event 0 of each and prints {"ready": STREAMS}. Then it obeys
lines on stdin: "go RATE SECONDS" writes as many events per second to each stream and
prints what it wrote; "close" ends and removes the streams. TARGET is a runtime
directory (ours), a Unix socket (redis) or a port.
"""

from __future__ import annotations

import http.client
import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from bench.events import event, write_paced

MAX_ENTRIES = b'20971'
"""Of 200 bytes: 4 MiB."""


class Writer(Protocol):
    """Writes into one peer."""

    def prime(self) -> None:
        """Make the streams, event 0 in each."""

    def go(self, rate: float, seconds: float) -> dict[str, Any]:
        """Write at this rate; returns ``Pace.summary``."""

    def close(self) -> None:
        """End and remove the streams."""


class OursWriter:
    def __init__(self, target: str, prefix: str, streams: int) -> None:
        from shmstream import Streams

        self._streams = Streams.attach(target)
        self._names = [f'{prefix}-{i}' for i in range(streams)]

    def prime(self) -> None:
        self._producers = [self._streams.create(name) for name in self._names]
        for i, producer in enumerate(self._producers):
            producer.write(event(0, i, time.monotonic_ns()))

    def go(self, rate: float, seconds: float) -> dict[str, Any]:
        writes = [producer.write for producer in self._producers]

        def emit(stream: int, data: bytes) -> None:
            writes[stream](data)

        return write_paced(len(writes), rate, seconds, emit)

    def close(self) -> None:
        for name, producer in zip(self._names, self._producers, strict=True):
            producer.finish()
            self._streams.evict(name)
        self._streams.close()


class Pipeline:
    """Sends without waiting, and reads replies when there are many, or at the end.

    Args:
        peer: connected socket.
        token: what every reply holds exactly once.
    """

    def __init__(self, peer: socket.socket, token: bytes) -> None:
        self._peer = peer
        self.token = token
        self._tail = b''
        self._outstanding = 0
        self._out = bytearray()

    def put(self, request: bytes) -> None:
        self._out += request
        self._outstanding += 1

    def flush(self) -> None:
        if self._out:
            self._peer.sendall(self._out)
            self._out.clear()
        self._drain(500)

    def finish(self) -> None:
        self.flush()
        self._drain(0)

    def _drain(self, upto: int) -> None:
        while self._outstanding > upto:
            piece = self._peer.recv(1 << 16)
            if not piece:
                raise ConnectionError('the server hung up')
            data = self._tail + piece
            self._outstanding -= data.count(self.token)
            # The end of a token may be still to come. What is kept holds no whole
            # token, so none is counted twice.
            keep = len(self.token) - 1
            self._tail = data[-keep:] if keep else b''


def _bulk(*words: bytes) -> bytes:
    return b'*%d\r\n' % len(words) + b''.join(
        b'$%d\r\n%b\r\n' % (len(w), w) for w in words
    )


class RedisWriter:
    """XADD by hand and pipelined: what a client library adds would be its own cost."""

    def __init__(self, target: str, prefix: str, streams: int) -> None:
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(target)
        self._pipeline = Pipeline(peer, b'$')
        self._keys = [b'%b-%d' % (prefix.encode(), i) for i in range(streams)]
        # All but the last of the command's 8 words; the last is the event.
        self._heads = [
            b'*8' + _bulk(b'XADD', key, b'MAXLEN', b'~', MAX_ENTRIES, b'*', b'd')[2:]
            for key in self._keys
        ]

    def _put(self, stream: int, data: bytes) -> None:
        self._pipeline.put(b'%b$200\r\n%b\r\n' % (self._heads[stream], data))

    def prime(self) -> None:
        for i in range(len(self._keys)):
            self._put(i, event(0, i, time.monotonic_ns()))
        self._pipeline.finish()

    def go(self, rate: float, seconds: float) -> dict[str, Any]:
        done = write_paced(
            len(self._keys), rate, seconds, self._put, self._pipeline.flush
        )
        self._pipeline.finish()
        return done

    def close(self) -> None:
        for key in self._keys:
            self._pipeline.put(_bulk(b'XADD', key, b'*', b'e', b'1'))
        self._pipeline.finish()
        time.sleep(0.3)
        self._pipeline.token = b':'
        for key in self._keys:
            self._pipeline.put(_bulk(b'UNLINK', key))
        self._pipeline.finish()


class NchanWriter:
    """POSTs over kept connections, pipelined as far as a batch goes."""

    CONNECTIONS = 4

    def __init__(self, target: str, prefix: str, streams: int) -> None:
        self._pipelines = []
        for _ in range(self.CONNECTIONS):
            peer = socket.create_connection(('127.0.0.1', int(target)))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pipelines.append(Pipeline(peer, b'HTTP/1.1 '))
        self._names = [b'%b-%d' % (prefix.encode(), i) for i in range(streams)]
        self._heads = [
            b'POST /pub/%b HTTP/1.1\r\nHost: a\r\nAccept: text/json\r\n'
            b'Content-Type: text/event-stream\r\nContent-Length: 200\r\n\r\n' % name
            for name in self._names
        ]

    def _put(self, stream: int, data: bytes) -> None:
        # A stream always has the same connection, which keeps its events in order.
        self._pipelines[stream % self.CONNECTIONS].put(self._heads[stream] + data)

    def prime(self) -> None:
        for i in range(len(self._names)):
            self._put(i, event(0, i, time.monotonic_ns()))
            self._flush(finish=i % 50 == 49)
        self._flush(finish=True)

    def _flush(self, finish: bool = False) -> None:
        for pipeline in self._pipelines:
            if finish:
                pipeline.finish()
            else:
                pipeline.flush()

    def go(self, rate: float, seconds: float) -> dict[str, Any]:
        done = write_paced(len(self._names), rate, seconds, self._put, self._flush)
        self._flush(finish=True)
        return done

    def close(self) -> None:
        for i, name in enumerate(self._names):
            self._pipelines[i % self.CONNECTIONS].put(
                b'DELETE /pub/%b HTTP/1.1\r\nHost: a\r\n\r\n' % name
            )
            self._flush(finish=True)


class InprocWriter:
    """Tells the producers to write, which are in the worker itself."""

    def __init__(self, target: str, prefix: str, streams: int) -> None:
        self._target = int(target)
        self._query = f'prefix={prefix}&streams={streams}'

    def _post(self, what: str) -> bytes:
        peer = http.client.HTTPConnection('127.0.0.1', self._target)
        peer.request('POST', f'/control/{what}')
        answer = peer.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f'{what}: {answer.status} {content!r}')
        peer.close()
        return content

    def prime(self) -> None:
        self._post(f'prime?{self._query}')

    def go(self, rate: float, seconds: float) -> dict[str, Any]:
        query = f'{self._query}&rate={rate}&seconds={seconds}'
        done: dict[str, Any] = json.loads(self._post(f'go?{query}'))
        return done

    def close(self) -> None:
        self._post(f'close?{self._query}')


KINDS: dict[str, Callable[[str, str, int], Writer]] = {
    'ours': OursWriter,
    'redis': RedisWriter,
    'nchan': NchanWriter,
    'inproc': InprocWriter,
}


def main() -> None:
    """Obey the lines on stdin."""
    kind, target, prefix, streams = sys.argv[1:5]
    writer = KINDS[kind](target, prefix, int(streams))
    try:
        writer.prime()
        print(json.dumps({'ready': int(streams)}), flush=True)
        for line in sys.stdin:
            words = line.split()
            if words[0] == 'close':
                break
            done = writer.go(float(words[1]), float(words[2]))
            print(json.dumps(done), flush=True)
    finally:
        writer.close()


if __name__ == '__main__':
    main()
