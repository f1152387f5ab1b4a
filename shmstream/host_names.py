"""The ``Host`` values that ``SHMSTREAM_HOSTS`` names.

::

    chat.example.org         this name, at any port
    chat.example.org:8443    this name, at this port only
    *.example.org            every name below ``example.org``
    127.0.0.1, [::1]         these addresses, at any port

The owner of a web page can let a name of the page stand for an address of this machine
(DNS rebinding). Then the page has the same origin as the service, and only the name in
``Host`` shows the difference.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_ENTRY = re.compile(
    r'(\*\.)?'
    r'(\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*)'
    r'(?::(0|[1-9][0-9]{0,4}))?'
)
_HOST = re.compile(
    rb'(\[[0-9a-fA-F:.]{2,45}\]|[^:\[\]@/?#\s]{1,255})(?::([0-9]{0,5}))?'
)
_USUAL_PORTS = {'http': b'80', 'https': b'443'}


def is_loopback(host: str) -> bool:
    """Whether a host is sure to be this machine's loopback, by its address or name."""
    try:
        return ip_address(host.strip('[]')).is_loopback
    except ValueError:
        # Of host names only ``localhost`` is sure to be one.
        return host == 'localhost'


def check_host(text: str) -> str:
    """Return a name of the setting in lower case.

    Raises:
        ValueError: no ``Host`` header can have this name.
    """
    entry = text.lower()
    match = _ENTRY.fullmatch(entry)
    if match is None or int(match[3] or 0) > 65535:
        raise ValueError(
            'must be host names like chat.example.org, *.example.org or'
            f' localhost:8000, not {text!r}'
        )
    return entry


class HostNames:
    """The names that the service is asked by.

    Args:
        names: names as ``check_host`` returns them.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._exact: set[tuple[bytes, bytes | None]] = set()
        self._below: list[tuple[bytes, bytes | None]] = []
        for name in names:
            match = _ENTRY.fullmatch(name)
            assert match is not None
            port = match[3].encode() if match[3] else None
            if match[1]:
                self._below.append((b'.' + match[2].encode(), port))
            else:
                self._exact.add((match[2].encode(), port))

    @property
    def some(self) -> bool:
        """Whether any name is named."""
        return bool(self._exact or self._below)

    def serves(self, host: bytes | None, scheme: str) -> bool:
        """Whether a request with this ``Host`` header may be served.

        Args:
            host: the value of the header; None if there is no header, or several.
            scheme: the scheme of the request, which tells a port that is left out.
        """
        match = None if host is None else _HOST.fullmatch(host)
        if match is None:
            return False
        name = match[1].lower().removesuffix(b'.')
        port = match[2] or _USUAL_PORTS.get(scheme, b'')
        if (name, None) in self._exact or (name, port) in self._exact:
            return True
        return any(
            name.endswith(tail) and len(name) > len(tail) and only in (None, port)
            for tail, only in self._below
        )
