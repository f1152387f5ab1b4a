"""Which HTTP parser gunicorn 27 takes: the one in C, where it is there, or its own.

gunicorn decides per connection and tells nobody. What it decides by is asked here as it
does, for the start line.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

_NEEDS_PYTHON = ('permit_obsolete_folding', 'strip_header_spaces')
"""Settings that only the parser in Python has."""


def parser_in_use(cfg: Any) -> str:
    """Return the name of the parser that connections will have, in words.

    Args:
        cfg: gunicorn's configuration.
    """
    pure = 'parser in Python'
    if cfg.http_parser == 'python':
        return pure
    if find_spec('gunicorn_h1c') is None:
        return f'{pure} (shmstream[fast] brings the one in C)'
    needs = [name for name in _NEEDS_PYTHON if getattr(cfg, name)]
    if cfg.proxy_protocol != 'off':
        needs.append('proxy_protocol')
    if needs and cfg.http_parser == 'auto':
        return f'{pure} ({needs[0]} needs it)'
    return 'parser in C'
