"""In which form the log is written: the variables that every process reads.

The values are checked by ``Settings`` when the service starts. A process without
settings, such as the supervisor, reads them here.
"""

from __future__ import annotations

import os

from shmstream.errors import SettingsError

FORMATS = ('text', 'json')
ID_FORMS = ('plain', 'hashed', 'none')

FORMAT = 'SHMSTREAM_LOG_FORMAT'
IDS = 'SHMSTREAM_LOG_IDS'

PASSED_ON = (FORMAT, IDS)
"""The variables that a supervisor inherits. All others may hold secrets."""


def parse_format(text: str) -> str:
    """Read ``text`` or ``json``; raises ``ValueError``."""
    return _one_of(FORMATS, text)


def parse_ids(text: str) -> str:
    """Read ``plain``, ``hashed`` or ``none``; raises ``ValueError``."""
    return _one_of(ID_FORMS, text)


def _one_of(words: tuple[str, ...], text: str) -> str:
    if text not in words:
        raise ValueError(
            f'must be {", ".join(words[:-1])} or {words[-1]}, not {text!r}'
        )
    return text


def in_json() -> bool:
    """Whether the log is written in JSON. A value that cannot be used means text."""
    return os.environ.get(FORMAT, '').strip() == 'json'


def id_form() -> str:
    """Return how conversation ids are shown.

    Raises:
        SettingsError: the variable has a value that cannot be used. No other form is
            taken instead: ids might be shown that must not be.
    """
    text = os.environ.get(IDS, '').strip()
    try:
        return parse_ids(text) if text else ID_FORMS[0]
    except ValueError as ex:
        raise SettingsError(f'{IDS}: {ex}') from None
