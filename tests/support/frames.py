"""WebSockets byte for byte: the handshake of either side, and frames (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import struct

from tests.support.raw_upstream import Link

_GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
_KEY = base64.b64encode(bytes(16))
_MASK = b'\x01\x02\x03\x04'
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def field(request: bytes, name: bytes) -> bytes | None:
    """The value of a header field of a request; None without it."""
    for line in request.partition(b'\r\n\r\n')[0].split(b'\r\n')[1:]:
        found, _, value = line.partition(b':')
        if found.lower() == name.lower():
            return value.strip()
    return None


def accept(link: Link, request: bytes, *lines: bytes) -> None:
    """Answer a handshake with 101 and these header lines."""
    key = field(request, b'Sec-WebSocket-Key')
    assert key is not None
    proof = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    head = [
        b'HTTP/1.1 101 Switching Protocols',
        b'Upgrade: websocket',
        b'Connection: Upgrade',
        b'Sec-WebSocket-Accept: ' + proof,
        *lines,
    ]
    link.send(b'\r\n'.join(head) + b'\r\n\r\n')


def handshake(link: Link, target: bytes, *lines: bytes, host: bytes = b'test') -> bytes:
    """Ask for a WebSocket with these header lines; returns the head of the answer."""
    ask(link, target, *lines, host=host)
    return answered(link)


def ask(link: Link, target: bytes, *lines: bytes, host: bytes = b'test') -> None:
    """Ask for a WebSocket with these header lines."""
    head = [
        b'GET %s HTTP/1.1' % target,
        b'Host: ' + host,
        b'Upgrade: websocket',
        b'Connection: Upgrade',
        b'Sec-WebSocket-Version: 13',
        b'Sec-WebSocket-Key: ' + _KEY,
        *lines,
    ]
    link.send(b'\r\n'.join(head) + b'\r\n\r\n')


def answered(link: Link) -> bytes:
    """The head of the answer to a handshake."""
    answer = link.request()
    assert answer is not None
    return answer


def send(link: Link, kind: int, data: bytes, masked: bool = False) -> None:
    """Send a frame; what a client sends is masked."""
    bit = 0x80 if masked else 0
    if len(data) < 126:
        head = bytes([0x80 | kind, bit | len(data)])
    elif len(data) < 1 << 16:
        head = bytes([0x80 | kind, bit | 126]) + struct.pack('>H', len(data))
    else:
        head = bytes([0x80 | kind, bit | 127]) + struct.pack('>Q', len(data))
    if masked:
        mask = (_MASK * (len(data) // 4 + 1))[: len(data)]
        data = bytes(a ^ b for a, b in zip(data, mask, strict=True))
        head += _MASK
    link.send(head + data)


def close(link: Link, code: int, reason: bytes = b'', masked: bool = False) -> None:
    """Send a close frame."""
    send(link, CLOSE, struct.pack('>H', code) + reason, masked)


def receive(link: Link) -> tuple[int, bytes] | None:
    """The next frame, unmasked: its kind and data; None at the end."""
    head = link.read(2)
    if len(head) < 2:
        return None
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack('>H', link.read(2))
    elif size == 127:
        (size,) = struct.unpack('>Q', link.read(8))
    mask = link.read(4) if head[1] & 0x80 else bytes(4)
    data = link.read(size)
    long = (mask * (size // 4 + 1))[:size]
    return head[0] & 0x0F, bytes(a ^ b for a, b in zip(data, long, strict=True))


def closed(link: Link) -> tuple[int, bytes]:
    """The code and reason of the close frame that is next."""
    frame = receive(link)
    assert frame is not None, 'cut without a close frame'
    kind, data = frame
    assert kind == CLOSE, frame
    return struct.unpack('>H', data[:2])[0], data[2:]
