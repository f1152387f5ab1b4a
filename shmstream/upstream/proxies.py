"""The proxy on the way upstream: ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY``.

The variables are read as Go and curl read them. Their names may have small or capital
letters; small ones win. A host in ``NO_PROXY`` stands for its subdomains as well, and
an address may be a range (``10.0.0.0/8``). A loopback address or a Unix socket is
always reached without a proxy.

aiohttp could read the variables itself, but then it would also read ``~/.netrc``, and
send the passwords in it to the upstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from shmstream.upstream.address import Address


class BadProxy(ValueError):
    """The value of a variable cannot be used. The message names the variable."""


def proxy_for(address: Address, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for an upstream; None if there is none.

    Raises:
        BadProxy: the environment names a proxy that cannot be used.
    """
    url = urlsplit(address.origin)
    host = address.host
    if address.unix_path is not None or _is_here(host):
        return None
    names = (f'{url.scheme}_proxy', 'all_proxy')
    variable, text = next(
        (
            (name, environ[name].strip())
            for lower in names
            for name in (lower, lower.upper())
            if environ.get(name, '').strip()
        ),
        ('', ''),
    )
    if not text:
        return None
    no_proxy = environ.get('no_proxy', environ.get('NO_PROXY', ''))
    port = url.port or {'http': 80, 'https': 443}[url.scheme]
    if any(_names(entry.strip(), host, port) for entry in no_proxy.split(',')):
        return None
    if '://' not in text:
        text = 'http://' + text
    try:
        proxy = urlsplit(text)
        usable = proxy.scheme in ('http', 'https') and bool(proxy.hostname)
        _ = proxy.port
    except ValueError:
        usable = False
    if not usable:
        # The message must not show the value: it may contain a password.
        raise BadProxy(f'{variable}: must be http://[USER:PASSWORD@]HOST:PORT')
    return text


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost' or host.endswith('.localhost')


def _names(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``NO_PROXY`` matches this host and port."""
    if entry == '*':
        return True
    if not entry:
        return False
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        # The host or the entry is a name, or the entry has a port.
        pass
    name, colon, number = entry.rpartition(':')
    if colon and number.isdecimal() and name.count(':') == 0:
        if int(number) != port:
            return False
        entry = name
    entry = entry.lower().removeprefix('*').removeprefix('.')
    return bool(entry) and (host == entry or host.endswith('.' + entry))
