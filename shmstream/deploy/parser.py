"""Which HTTP parser gunicorn 27 takes: the one in C, where it is there, or its own.

gunicorn decides per connection and tells nobody, and one that it cannot have is an
error of every request. So what it decides by is asked here as it does, once, at start.
"""

from __future__ import annotations

from typing import Any

from shmstream.errors import SettingsError

_NEEDS_PYTHON = ('permit_obsolete_folding', 'strip_header_spaces')
"""Settings that only the parser in Python has."""

_OWN_PARSER = ('asgi', 'sync', 'gthread', 'gevent')
"""Workers that are gunicorn's own; what others parse with is their affair."""


def parser_in_use(cfg: Any) -> str | None:
    """Return in words which parser connections will have; None if it is not gunicorn's.

    Args:
        cfg: gunicorn's configuration.

    Raises:
        SettingsError: ``http_parser`` asks for the one in C, which cannot be had.
    """
    if cfg.worker_class_str not in _OWN_PARSER:
        return None
    if cfg.http_parser == 'python':
        return 'HTTP parser in Python'
    needs = [name for name in _NEEDS_PYTHON if getattr(cfg, name)]
    if cfg.worker_class_str == 'asgi' and cfg.proxy_protocol != 'off':
        needs.append('proxy_protocol')
    if not _has_c():
        why = 'shmstream[fast] brings the one in C'
    elif needs:
        why = f'{needs[0]} needs it'
    else:
        return 'HTTP parser in C'
    if cfg.http_parser == 'fast':
        raise SettingsError(
            f"http_parser = 'fast' cannot be: {why}; or set it to 'auto'"
        )
    return f'HTTP parser in Python ({why})'


def _has_c() -> bool:
    try:
        import gunicorn_h1c
    except ImportError:
        return False
    # Older ones enforce no limits, and gunicorn does not take them.
    return hasattr(gunicorn_h1c, 'LimitRequestLine')
