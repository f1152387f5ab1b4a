r"""Finds members of a JSON object while its text is still arriving.

A request says at the top level of its body that it wants a stream, and which
conversation it belongs to. Megabytes of messages and pictures often come before these
members. So nothing is parsed: a string is skipped in one call of C code, and in nested
values only strings and brackets are looked at. The steps of one call are bounded, so
that other tasks have their turns. The steps of one body are bounded as well::

    {"messages": [{"content": "..."}, ...], "model": "m", "stream": true, "id": "c1"}
     \________/  \______________________/               \____________/  \________/
       a name           skipped                              found         found

Text that is no JSON object has no members. The rest of such text is not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

MAX_TEXT = 3072
"""Bytes of a string that is kept, at most. The text of an id is never longer, even if
all of its characters are escaped (``ids.MAX_ID_BYTES``)."""

MAX_STEPS = 500_000
"""Steps that one body may cost. A step is over a string or a bracket, and takes one or
two microseconds. Members that come after the last step are not found."""

STEPS_AT_ONCE = 2000

_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_NESTED = re.compile(rb'[^"{}\[\]]*+')
_SPACE = re.compile(rb'[ \t\r\n]*+')
_LITERAL = re.compile(rb'[-+.0-9A-Za-z]*+')
_WHOLE_NUMBER = re.compile(rb'-?[0-9]{1,20}')
_MAX_LITERAL = 64

_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPEN, _CLOSE = b'{}'
_BRACKETS = {ord('{'): 1, ord('['): 1, ord('}'): -1, ord(']'): -1}


class TooLong:
    """Stands for a string that is longer than ``MAX_TEXT``."""


Value = str | bool | type[TooLong]


class BodyFields:
    """Finds members at the top level of the JSON object in a body.

    Args:
        names: the names of the members.

    Attributes:
        found: the members that have arrived: strings, whole numbers as text, ``True``
            and ``False``. If several members have one name, the first of these counts.
        twice: the name of a found member that came again with another value; None if
            there is none. Upstreams would take the last value.
        unfit: the names of members whose value is of another kind: a list, an object, a
            fraction, or no JSON. ``null`` is as if the member were not there.
        over: whether nothing more will be found: the object has ended, a member has
            come twice, the text is no JSON object, or ``MAX_STEPS`` are used up.
        ended: whether the object has ended, as far as was looked.
        more: whether anything but space comes after its end.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self.found: dict[str, Value] = {}
        self.twice: str | None = None
        self.unfit: set[str] = set()
        self.over = not self._names
        self.ended = self.more = False
        self._data = b''
        self._at = 0
        self._expects = self._object
        self._name: str | None = None
        self._depth = 0
        self._in_string = False
        self._text: bytearray | None = None
        self._steps = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Call this only after ``look`` has returned True."""
        if not self.over:
            self._data, self._at = self._data[self._at :] + piece, 0
        else:
            self._look_behind(piece)

    def look(self) -> bool:
        """Look at some of the bytes that have arrived.

        Returns:
            Whether all bytes have been looked at. If not, call this again, after other
            tasks have had their turns.
        """
        data, at = self._data, self._at
        stop = min(self._steps + STEPS_AT_ONCE, MAX_STEPS)
        before = -1
        while before < at < len(data) and not self.over and self._steps < stop:
            self._steps += 1
            before = at
            if self._in_string:
                at = self._string(data, at)
            elif self._depth:
                at = self._nested(data, at)
            else:
                at = _SPACE.match(data, at).end()  # type: ignore[union-attr]
                if at < len(data):
                    at = self._expects(data, at)
        self.over = self.over or self._steps >= MAX_STEPS
        if self.over:
            self._look_behind(data[at:])
        if self.over or at == len(data):
            # The piece is dropped, because pieces may be large.
            data, at = b'', 0
        self._data, self._at = data, at
        # If the last step came no farther, more bytes must arrive first.
        return not data or at == before

    def _look_behind(self, rest: bytes) -> None:
        if self.ended and rest and not rest.isspace():
            self.more = True

    # -- strings and nested values ---------------------------------------------------

    def _string(self, data: bytes, at: int) -> int:
        # A string without escapes ends at the next quote, which is found much faster.
        end = data.find(_QUOTE, at)
        end = len(data) if end < 0 else end
        if end > at and data[end - 1] == _BACKSLASH:
            end = _IN_STRING.match(data, at).end()  # type: ignore[union-attr]
        if self._text is not None and len(self._text) <= MAX_TEXT:
            self._text += data[at:end]
        if end == len(data) or data[end] != _QUOTE:
            # The rest of the string, or what its last backslash escapes, must arrive.
            return end
        self._in_string = False
        if not self._depth:
            self._string_ended()
        return end + 1

    def _nested(self, data: bytes, at: int) -> int:
        end = _NESTED.match(data, at).end()  # type: ignore[union-attr]
        if end == len(data):
            return end
        if data[end] == _QUOTE:
            self._in_string = True
        else:
            self._depth += _BRACKETS[data[end]]
        return end + 1

    # -- the object's own members: what is expected next ------------------------------

    def _object(self, data: bytes, at: int) -> int:
        return self._go_on(data[at] == _OPEN, self._member, at + 1)

    def _member(self, data: bytes, at: int) -> int:
        self._in_string, self._text = True, bytearray()
        self._name = None
        self.ended = data[at] == _CLOSE
        return self._go_on(data[at] == _QUOTE, self._colon, at + 1)

    def _colon(self, data: bytes, at: int) -> int:
        return self._go_on(data[at] == _COLON, self._value, at + 1)

    def _value(self, data: bytes, at: int) -> int:
        self._expects = self._comma
        if data[at] == _QUOTE:
            self._in_string = True
            self._text = bytearray() if self._wanted else None
            return at + 1
        if _BRACKETS.get(data[at]) == 1:
            self._depth = 1
            self._is_unfit()
            return at + 1
        end = _LITERAL.match(data, at).end()  # type: ignore[union-attr]
        if end == len(data) and end - at <= _MAX_LITERAL:
            # The rest of the literal may still arrive.
            self._expects = self._value
            return at
        literal = data[at:end]
        if self._wanted and literal in (b'true', b'false'):
            self._keep(literal == b'true')
        elif self._wanted and _WHOLE_NUMBER.fullmatch(literal):
            self._keep(literal.decode())
        elif literal == b'null':
            self._comes_again()
        else:
            self._is_unfit()
        return self._go_on(0 < end - at <= _MAX_LITERAL, self._comma, end)

    def _comma(self, data: bytes, at: int) -> int:
        self.ended = data[at] == _CLOSE
        return self._go_on(data[at] == _COMMA, self._member, at + 1)

    def _go_on(self, fits: bool, expects: object, at: int) -> int:
        # If ``fits`` is false, the object has ended, or the text is no JSON.
        self.over = self.over or not fits
        self._expects = expects  # type: ignore[assignment]
        return at

    @property
    def _wanted(self) -> bool:
        return self._name in self._names

    def _string_ended(self) -> None:
        text, self._text = self._text, None
        if text is None:
            return
        value: Value | None = TooLong
        if len(text) <= MAX_TEXT:
            try:
                value = json.loads(b'"%b"' % bytes(text))
            except ValueError:
                # The string is not valid JSON, or not UTF-8.
                self.over = True
                return
        if self._expects == self._colon:
            self._name = value if isinstance(value, str) else None
        elif value is not None:
            self._keep(value)

    def _keep(self, value: Value) -> None:
        assert self._name is not None
        if self.found.setdefault(self._name, value) != value:
            self._comes_again()

    def _is_unfit(self) -> None:
        if self._name is not None and self._wanted:
            self.unfit.add(self._name)
        self._comes_again()

    def _comes_again(self) -> None:
        # A value is here that is not the one that was found, if one was found.
        if self._name in self.found:
            self.twice = self._name
            self.over = True
