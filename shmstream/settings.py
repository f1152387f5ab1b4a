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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shmstream import defaults
from shmstream.errors import SettingsError
from shmstream.id_from import DEFAULT, IdFrom
from shmstream.logs.form import FORMATS, ID_FORMS
from shmstream.memory.directory import default_directory
from shmstream.setting_parsers import PARSERS, OnDisconnect
from shmstream.supervisor.config import SupervisorConfig

PREFIX = 'SHMSTREAM_'

_NOT_YET = ('CLUSTER',)
_OF_CLIENTS = ('KEY',)
_NEVER_BLANK = ('API_KEYS', 'API_KEYS_FILE')


@dataclass(frozen=True)
class Settings:
    """Everything that can be set.

    The text below a field is what the documentation says of the setting. Its default is
    that of the field, unless the text ends with ``Default: ...``.
    """

    upstream: str | None = field(default=None, repr=False)
    """Base URL of an OpenAI-compatible server, with or without ``/v1`` at its end. A
    query (``?api-version=...``) is sent with every request, and replaces the client's
    parameters of the same names. ``unix:/path`` is a Unix socket. Default: the demo
    model."""

    upstream_api_key: str | None = field(default=None, repr=False)
    """Key that is sent upstream in place of the client's key; if it is not set, the
    client's key is passed on."""

    upstream_key_header: str = 'Authorization'
    """Header in which ``SHMSTREAM_UPSTREAM_API_KEY`` is sent; may also be ``api-key``
    or ``x-api-key``. Default: ``Authorization``, as Bearer."""

    upstream_proxy: str | None = field(default=None, repr=False)  # by HTTP_PROXY, ...
    upstream_connect_timeout: float = 10.0
    """Seconds that a connection to the upstream may take, name look-up and TLS
    included."""

    upstream_first_byte_timeout: float = 600.0
    """Seconds, from the last piece of a large request body on, until the answer begins;
    also how long an answer may then be silent."""

    dir: Path = field(default_factory=default_directory)
    """Runtime directory, one per deployment; an absolute path. Default:
    ``/dev/shm/shmstream-<uid>``, of the workers' user."""

    session_bytes: int = defaults.CAPACITY_BYTES
    """Size of a session's ring; older bytes are dropped."""

    session_ttl: float = defaults.TTL_S
    """Seconds that a finished session is kept."""

    gc_interval: float = defaults.GC_INTERVAL_S
    """Seconds between two collections of expired sessions."""

    max_sessions: int = defaults.MAX_SESSIONS
    """At this number the oldest finished sessions are removed to make room; if none is
    finished, a new one gets 503. The number is limited to what one process may map:
    63,483 where ``vm.max_map_count`` is 65530. On Python before 3.13 the number of
    descriptors that a process may open limits it too."""

    max_memory: int = 0
    """Bytes that all sessions may take together; at this limit, too, the oldest
    finished sessions are removed, or a new one gets 503. Default: half of what is free
    when the deployment begins."""

    owner_share: float = defaults.OWNER_SHARE
    """With several keys: the part of sessions and of memory that one key may have. The
    bound on memory counts everything that is held for the key: live streams, finished
    ones, and deleted ones that somebody still reads. The bound on sessions counts live
    ones only. When a key needs more than its share, its own oldest finished sessions
    are removed; if that is not enough, the key gets 503. Within its share no key loses
    anything to another key, as long as all shares together are no more than 1: with
    three keys, set 0.33."""

    drain: float = 300.0
    """Seconds that the answers of a leaving worker may go on; if gunicorn itself stops,
    0.8 of its ``graceful_timeout`` at the most, and without gunicorn never more than 8.
    """

    on_disconnect: OnDisconnect = field(default_factory=OnDisconnect)
    """What happens to an answer that nobody reads: ``continue``, ``cancel`` or
    ``grace=SECONDS``. Default: ``continue``."""

    id_from: tuple[IdFrom, ...] = DEFAULT
    """Where the id of a conversation is in a POST: ``header:NAME``, ``query:NAME``, or
    ``body:FIELD`` (a string or a whole number at the top level of a JSON body, which is
    then held in memory, up to 64 MiB). ``response:id`` gives each POST to
    ``.../responses`` an id that nobody else has: its stream is found by the
    ``response.id``. Several places are separated by commas, and the first place in
    which an id is found counts. An id that comes twice in this place gets 400, and so
    does a second ``"stream"`` that says something else. Headers that hold secrets
    (``Authorization``, ``Cookie``, ``x-api-key``, ``api-key``) are refused. Default:
    ``header:X-Conversation-Id``."""

    chat: tuple[str, ...] = ()
    """Paths that the AI SDK's ``useChat`` sends its questions to, separated by commas:
    ``/api/chat``. Their POSTs ask for streams, and have their ids in the member ``id``
    of the body, before what ``SHMSTREAM_ID_FROM`` says; ``GET {path}/ID/stream`` and
    ``POST {path}/ID/stop`` are answered here."""

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys, separated by commas; ``SHMSTREAM_API_KEYS_FILE`` names a file that has one
    per line. Each key is an owner, with conversations of its own. Default: none, and
    everybody who can connect may use the service."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may use the service, separated by commas:
    ``https://chat.example.org``, ``https://*.example.org`` (the names below it),
    ``http://localhost:*`` (any port), ``app://name`` and other schemes (any host, also
    ``app://-``), ``null``, ``*``. Write them as browsers do: in lower case, without a
    slash at the end, without the usual port."""

    hosts: tuple[str, ...] = ()
    """The ``Host`` values that are served, separated by commas: ``chat.example.org``,
    ``localhost:8000`` (this port only), ``*.example.org``, ``127.0.0.1``; other values
    get 421, on ``/healthz`` too. Default: every name."""

    demo_rate: float = 20.0
    """Tokens per second of the demo model."""

    send_timeout: float = 60.0
    """Seconds. A client that takes none of the bytes that wait for it is cut after this
    time, and so is a client that goes on reading a stream that was removed; both can
    resume. A client that vanishes while no bytes wait counts as a reader for about this
    time. A request body that is being held has this time to arrive. Each 16 KiB that
    arrive add one second to the time that is left, but never more than up to this
    value. When no time is left, the request gets 408."""

    reader_share: float = 0.75
    """Under gunicorn's ``gthread``: the part of a worker's threads that may be readers
    at once, at least one. A request of one more gets 503 with ``Retry-After``, and a
    POST is refused before its source begins. ``Application(readers=...)`` and
    ``Answers(readers=...)`` set a number instead, under every WSGI server."""

    max_uploads: int = 256 << 20
    """Bytes of request bodies that one worker holds at once, until the upstream has
    them; a request beyond this limit gets 503. With several keys, the bodies of one key
    may take ``SHMSTREAM_OWNER_SHARE`` of the limit, and a single body larger than that
    gets 413."""

    stream_types: tuple[str, ...] = ()
    """Media types whose answers become sessions beside server-sent events and JSON
    lines, separated by commas: ``text/plain``, ``audio/*``."""

    log_format: str = FORMATS[0]
    """``text`` or ``json``: one JSON object per line."""

    log_ids: str = ID_FORMS[0]
    """How the log shows conversation ids: ``plain``, ``hashed`` or ``none``."""

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
            parse = PARSERS.get(name)
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
