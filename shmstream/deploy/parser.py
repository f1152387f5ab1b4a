"""Which HTTP parser gunicorn uses: the one in C, if it is installed, or its own.

gunicorn decides for each connection, and does not log its decision. If the
configuration demands a parser that is not installed, every request fails. So this
module makes the same decision once, at the start.
"""

from __future__ import annotations

from typing import Any

from shmstream.errors import SettingsError

_NEEDS_PYTHON = ('permit_obsolete_folding', 'strip_header_spaces')
"""Settings that only gunicorn's own parser, in Python, supports."""

_OWN_PARSER = ('asgi', 'sync', 'gthread', 'gevent')
"""Worker classes that use gunicorn's parsers. Other classes have their own."""


def parser_in_use(cfg: Any) -> str | None:
    """Return the name of the parser, for the log; None if it is not gunicorn's.

    Args:
        cfg: gunicorn's configuration.

    Raises:
        SettingsError: ``http_parser`` asks for the parser in C, which cannot be used.
    """
    if cfg.worker_class_str not in _OWN_PARSER:
        return None
    if 'http_parser' not in cfg.settings:
        # This version of gunicorn has no choice: it is older than the parser in C.
        return None
    if cfg.http_parser == 'python':
        return 'HTTP parser in Python'
    needs = [name for name in _NEEDS_PYTHON if getattr(cfg, name)]
    if cfg.worker_class_str == 'asgi' and cfg.proxy_protocol != 'off':
        needs.append('proxy_protocol')
    if not _has_c():
        why = 'shmstream[fast] installs the one in C'
    elif needs:
        why = f'{needs[0]} needs it'
    else:
        return 'HTTP parser in C'
    if cfg.http_parser == 'fast':
        raise SettingsError(
            f"http_parser = 'fast' cannot be used: {why}; or set it to 'auto'"
        )
    return f'HTTP parser in Python ({why})'


def _has_c() -> bool:
    try:
        import gunicorn_h1c
    except ImportError:
        return False
    # Older versions enforce no limits, and gunicorn does not use them.
    return hasattr(gunicorn_h1c, 'LimitRequestLine')
