"""Takes the content coding off a body: offsets count the bytes that are below it.

A proxy on the way may compress a stream. What it compresses in one piece depends on
when the bytes arrive, so a place in the compressed body is no place in the stream.
"""

from __future__ import annotations

import zlib
from typing import Protocol

_ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS


class CodingUnknown(Exception):
    """The body has a content coding that was not asked for."""


class BodyDamaged(Exception):
    """The compressed body cannot be unpacked, or ends too early."""


class Decoder(Protocol):
    """What all decoders do."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the body; return the bytes that are below the coding."""

    def end(self) -> None:
        """Check that the body is complete."""


def decoder_for(coding: str) -> Decoder:
    """Return the decoder for this value of ``Content-Encoding``.

    Raises:
        CodingUnknown: there is none.
    """
    match coding.strip().lower():
        case '' | 'identity':
            return Plain()
        case 'gzip' | 'x-gzip' | 'deflate':
            return Inflating()
    raise CodingUnknown(f'the body has the content coding {coding!r}')


class Plain:
    """Decodes nothing: the body has no coding."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes as they are."""
        return data

    def end(self) -> None:
        """Accept every end: a body without a coding does not say where it ends."""


class Inflating:
    """Unpacks gzip, and deflate as RFC 9110 has it."""

    def __init__(self) -> None:
        self._unpack = zlib.decompressobj(_ZLIB_OR_GZIP)
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Return what can be unpacked so far.

        Raises:
            BodyDamaged: the bytes are not compressed in this way.
        """
        self._begun = True
        try:
            found = self._unpack.decompress(data)
            while self._unpack.eof and (rest := self._unpack.unused_data):
                # A gzip body may have several members.
                self._unpack = zlib.decompressobj(_ZLIB_OR_GZIP)
                found += self._unpack.decompress(rest)
        except zlib.error as ex:
            raise BodyDamaged(f'the compressed body is damaged: {ex}') from ex
        return found

    def end(self) -> None:
        """Check that the last member is complete.

        Raises:
            BodyDamaged: it is not.
        """
        if self._begun and not self._unpack.eof:
            raise BodyDamaged('the compressed body ends too early')
