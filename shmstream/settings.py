"""Settings from the environment, checked once at start.

The variable of a field is ``SHMSTREAM_`` and the field's name in capitals. A value that
cannot be used raises a ``SettingsError`` of one line that names the variable. A blank
value counts as unset. But for API keys a blank value is an error: a variable that is
empty by mistake must not let everybody in.

This module parses by hand, because pydantic-settings costs each worker too much for
these few fields: its import adds 11 MiB, 7 MiB of them private, to a worker's 31 MiB,
and 0.15 s of CPU time to its start. This module adds 0.2 MiB and 0.01 s. (Measured with
pydantic-settings 2.16 on Python 3.11.)
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shmstream import defaults
from shmstream.chat_paths import parse_chat_paths
from shmstream.errors import SettingsError
from shmstream.host_names import check_host
from shmstream.id_from import DEFAULT, IdFrom, parse_id_from
from shmstream.logs.form import FORMATS, ID_FORMS, parse_format, parse_ids
from shmstream.memory.directory import default_directory, parse_directory
from shmstream.origin_patterns import check_pattern
from shmstream.ring.layout import MAX_CAPACITY, MIN_CAPACITY
from shmstream.supervisor.config import SupervisorConfig

PREFIX = 'SHMSTREAM_'

_UNITS = {'': 1, 'KIB': 1 << 10, 'MIB': 1 << 20, 'GIB': 1 << 30}
_SIZE = re.compile(r'(\d{1,15})\s*(KiB|MiB|GiB|)', re.IGNORECASE | re.ASCII)
_DECIMAL = re.compile(r'[0-9]{1,9}(\.[0-9]{1,6})?')
_MEDIA_TYPE = re.compile(r'[a-z0-9][a-z0-9.+-]*/([a-z0-9][a-z0-9.+-]*|\*)')
_COUNT = re.compile(r'[0-9]{1,12}')
_NOT_YET = ('CLUSTER',)
_OF_CLIENTS = ('KEY',)
_NEVER_BLANK = ('API_KEYS', 'API_KEYS_FILE')


@dataclass(frozen=True)
class OnDisconnect:
    """What happens to an answer that nobody listens to.

    Attributes:
        grace_s: seconds without a listener after which the answer is cancelled;
            None: it goes on to its end.
    """

    grace_s: float | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that can be set; the README explains each."""

    upstream: str | None = field(default=None, repr=False)
    upstream_api_key: str | None = field(default=None, repr=False)
    upstream_key_header: str = 'Authorization'
    upstream_proxy: str | None = field(default=None, repr=False)
    upstream_connect_timeout: float = 10.0
    upstream_first_byte_timeout: float = 600.0
    dir: Path = field(default_factory=default_directory)
    session_bytes: int = defaults.CAPACITY_BYTES
    session_ttl: float = defaults.TTL_S
    gc_interval: float = defaults.GC_INTERVAL_S
    max_sessions: int = defaults.MAX_SESSIONS
    max_memory: int = 0
    owner_share: float = defaults.OWNER_SHARE
    drain: float = 300.0
    on_disconnect: OnDisconnect = OnDisconnect()
    id_from: tuple[IdFrom, ...] = DEFAULT
    chat: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    demo_rate: float = 20.0
    send_timeout: float = 60.0
    reader_share: float = 0.75
    max_uploads: int = 256 << 20
    stream_types: tuple[str, ...] = ()
    log_format: str = FORMATS[0]
    log_ids: str = ID_FORMS[0]

    @property
    def several_owners(self) -> bool:
        """Whether there are several API keys, each of which stands for an owner."""
        return len(set(self.api_keys)) > 1

    def supervisor(self) -> SupervisorConfig:
        """Return the settings that the supervisor needs."""
        return SupervisorConfig(
            capacity=self.session_bytes,
            ttl_s=self.session_ttl,
            gc_interval_s=self.gc_interval,
            max_sessions=self.max_sessions,
            max_memory=self.max_memory,
            owner_share=self.owner_share,
            several_owners=self.several_owners,
        )

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, user: int | None = None
    ) -> Settings:
        """Read and check the settings.

        Args:
            environ: the environment.
            user: the id of the user that the deployment runs as; None: this user.

        Raises:
            SettingsError: one line that says which setting, and what is wrong with it.
        """
        values: dict[str, Any] = {'dir': default_directory(user)}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX):
                continue
            name = variable.removeprefix(PREFIX)
            if name in _NOT_YET:
                raise SettingsError(f'{variable} is not supported by this version')
            if name in _OF_CLIENTS:
                # Nobody must believe that it keeps clients out.
                raise SettingsError(
                    f'{variable} is the key of the command line, not a setting; the'
                    ' keys of the service are SHMSTREAM_API_KEYS'
                )
            parse = _PARSERS.get(name)
            if parse is None:
                raise SettingsError(f'{variable} is not a setting; is it misspelt?')
            if not text.strip():
                if name in _NEVER_BLANK:
                    raise SettingsError(
                        f'{variable}: is blank, which would let everybody in; unset it'
                        ' if that is meant'
                    )
                continue
            try:
                values[name.lower()] = parse(text.strip())
            except ValueError as ex:
                raise SettingsError(f'{variable}: {ex}') from None
        from_file = values.pop('api_keys_file', ())
        values['api_keys'] = values.get('api_keys', ()) + from_file
        if 'upstream' in values:
            # Here, because only the service has an upstream.
            from shmstream.upstream.address import Address
            from shmstream.upstream.proxies import BadProxy, proxy_for

            address = Address.parse(values['upstream'])
            try:
                values['upstream_proxy'] = proxy_for(address, environ)
            except BadProxy as ex:
                raise SettingsError(str(ex)) from None
        return cls(**values)


def parse_on_disconnect(text: str) -> OnDisconnect:
    """Read ``continue``, ``cancel`` or ``grace=SECONDS``; raises ``ValueError``."""
    kind, _, seconds = text.strip().partition('=')
    if kind == 'continue' and not seconds:
        return OnDisconnect()
    if kind == 'cancel' and not seconds:
        return OnDisconnect(grace_s=0.0)
    if kind == 'grace':
        return OnDisconnect(grace_s=_seconds(0, 86400)(seconds))
    raise ValueError(f'must be continue, cancel or grace=SECONDS, not {text!r}')


def _size(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        size = int(match[1]) * _UNITS[match[2].upper()] if match else -1
        if not least <= size <= most:
            raise ValueError(
                f'must be {least} to {most} bytes (such as 4MiB), not {text!r}'
            )
        return size

    return parse


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        # Only plain decimals are taken, because float() also takes nan, inf and 1_0.
        number = float(text) if _DECIMAL.fullmatch(text) else -1.0
        if not least <= number <= most:
            raise ValueError(f'must be {least:g} to {most:g} seconds, not {text!r}')
        return number

    return parse


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text) if _COUNT.fullmatch(text) else -1
        if not least <= number <= most:
            raise ValueError(
                f'must be a whole number from {least} to {most}, not {text!r}'
            )
        return number

    return parse


def _share(text: str) -> float:
    number = float(text) if _DECIMAL.fullmatch(text) else -1.0
    if not 0 < number <= 1:
        raise ValueError(f'must be above 0 and at most 1 (such as 0.5), not {text!r}')
    return number


def _upstream(text: str) -> str:
    from shmstream.upstream.address import Address

    Address.parse(text)
    return text


def _key_header(text: str) -> str:
    names = ('Authorization', 'api-key', 'x-api-key')
    for name in names:
        if text.lower() == name.lower():
            return name
    raise ValueError(f'must be one of {", ".join(names)}, not {text!r}')


def _key(text: str) -> str:
    if not re.fullmatch(r'[\x21-\x7e]+', text):
        raise ValueError('must be printable ASCII without spaces')
    return text


def _keys(text: str) -> tuple[str, ...]:
    keys = tuple(_key(part.strip()) for part in text.split(',') if part.strip())
    if not keys:
        raise ValueError('must name at least one key')
    return keys


def _keys_file(text: str) -> tuple[str, ...]:
    try:
        lines = Path(text).read_text(encoding='ascii').splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f'cannot be read as ASCII text: {text!r}') from None
    keys = tuple(
        _key(line.strip())
        for line in lines
        if line.strip() and not line.startswith('#')
    )
    if not keys:
        raise ValueError(f'{text!r} holds no key')
    return keys


def _origins(text: str) -> tuple[str, ...]:
    return tuple(check_pattern(p.strip()) for p in text.split(',') if p.strip())


def _hosts(text: str) -> tuple[str, ...]:
    hosts = tuple(check_host(part.strip()) for part in text.split(',') if part.strip())
    if not hosts:
        raise ValueError('must name at least one host')
    return hosts


def _media_types(text: str) -> tuple[str, ...]:
    kinds = tuple(part.strip().lower() for part in text.split(',') if part.strip())
    for kind in kinds:
        if not _MEDIA_TYPE.fullmatch(kind):
            raise ValueError(
                f'must be media types like text/plain or audio/*, not {kind!r}'
            )
    return kinds


_PARSERS: dict[str, Callable[[str], Any]] = {
    'UPSTREAM': _upstream,
    'UPSTREAM_API_KEY': _key,
    'UPSTREAM_KEY_HEADER': _key_header,
    'UPSTREAM_CONNECT_TIMEOUT': _seconds(0.001, 3600),
    'UPSTREAM_FIRST_BYTE_TIMEOUT': _seconds(0.001, 86400),
    'DIR': parse_directory,
    'SESSION_BYTES': _size(MIN_CAPACITY, MAX_CAPACITY),
    'SESSION_TTL': _seconds(0.1, 86400 * 30),
    'GC_INTERVAL': _seconds(0.05, 86400),
    'MAX_SESSIONS': _count(1, 65_536),
    'MAX_MEMORY': _size(1 << 16, 1 << 50),
    'OWNER_SHARE': _share,
    'DRAIN': _seconds(0, 86400),
    'ON_DISCONNECT': parse_on_disconnect,
    'ID_FROM': parse_id_from,
    'CHAT': parse_chat_paths,
    'API_KEYS': _keys,
    'API_KEYS_FILE': _keys_file,
    'CORS_ORIGINS': _origins,
    'HOSTS': _hosts,
    'DEMO_RATE': _seconds(0.1, 100_000),
    'SEND_TIMEOUT': _seconds(1, 86400),
    'READER_SHARE': _share,
    'MAX_UPLOADS': _size(1 << 16, 1 << 40),
    'STREAM_TYPES': _media_types,
    'LOG_FORMAT': parse_format,
    'LOG_IDS': parse_ids,
}


@functools.cache
def send_timeout() -> float:
    """Return ``$SHMSTREAM_SEND_TIMEOUT``, for applications that need no other setting.

    Raises:
        SettingsError: the variable has a value that cannot be used.
    """
    return _alone('SEND_TIMEOUT').send_timeout


@functools.cache
def reader_share() -> float:
    """Return ``$SHMSTREAM_READER_SHARE``, for applications that need no other setting.

    Raises:
        SettingsError: the variable has a value that cannot be used.
    """
    return _alone('READER_SHARE').reader_share


def drain_limit() -> float:
    """Return ``$SHMSTREAM_DRAIN``, for processes that need no other setting.

    Raises:
        SettingsError: the variable has a value that cannot be used.
    """
    return _alone('DRAIN').drain


def _alone(setting: str) -> Settings:
    name = PREFIX + setting
    alone = {name: os.environ[name]} if name in os.environ else {}
    return Settings.from_environment(alone)
