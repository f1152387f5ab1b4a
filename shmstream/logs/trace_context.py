"""The ids by which a request is found in the logs of others.

``X-Request-Id`` is what the client or a proxy has chosen. ``traceparent`` is that of
W3C Trace Context. Both are passed on to the upstream as they are. Only what is valid
here is logged, so no client can write what it likes into the log. A request without an
``X-Request-Id`` gets none: the generation of its stream names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_REQUEST_ID = re.compile(rb'[A-Za-z0-9._~+/=:@,-]{1,128}')
_TRACEPARENT = re.compile(
    rb'(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}'
    rb'(-.{0,200})?'
)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The ids that came with a request.

    Attributes:
        request_id: of ``X-Request-Id``; empty if there is none, or no valid one.
        trace_id: of ``traceparent``; 0 if there is none, or no valid one.
        span_id: of ``traceparent``, the span that the request was made in; 0: none.
    """

    request_id: str = ''
    trace_id: int = 0
    span_id: int = 0


NO_TRACE = TraceContext()


def trace_context(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext:
    """Return the ids in the headers of a request.

    A header that comes twice is not valid.

    Args:
        headers: the headers, with names in any case.
    """
    request_ids: list[bytes] = []
    parents: list[bytes] = []
    for name, value in headers:
        # The lengths are compared first, as most headers are neither.
        if len(name) == 12 and name.lower() == b'x-request-id':
            request_ids.append(value)
        elif len(name) == 11 and name.lower() == b'traceparent':
            parents.append(value)
    if not request_ids and not parents:
        return NO_TRACE
    return TraceContext(valid_request_id(request_ids), *valid_parent(parents))


def valid_request_id(values: list[bytes]) -> str:
    """Return the one value if it can be logged, else an empty text."""
    if len(values) != 1 or not _REQUEST_ID.fullmatch(values[0].strip(b' \t')):
        return ''
    return values[0].strip(b' \t').decode('ascii')


def valid_parent(values: list[bytes]) -> tuple[int, int]:
    """Return the trace id and the span id of the one ``traceparent``; (0, 0): none."""
    match = (
        _TRACEPARENT.fullmatch(values[0].strip(b' \t')) if len(values) == 1 else None
    )
    # Version 00 has these four fields only; later versions may have more.
    if match is None or (match[1] == b'00' and match[4]):
        return 0, 0
    return int(match[2], 16), int(match[3], 16)
