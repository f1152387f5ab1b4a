"""Records of ``logging`` as JSON: one object per line.

The standard library's ``json`` is enough for that. The names of the members are those
of ``docs/operations/logs.md``.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    *('message', 'asctime', 'taskName'),
}
"""Attributes of every record. All others are fields that the caller has added."""


class JsonLines(logging.Formatter):
    """Makes one JSON object of each record. Line breaks are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON text."""
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            'time': when.isoformat(timespec='milliseconds'),
            'level': record.levelname.lower(),
            'logger': record.name,
            'pid': record.process,
            # A message that shows its fields in text has a short form for this one.
            'message': getattr(record.msg, 'short', None) or record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith('_'):
                line.setdefault(name, value)
        if record.exc_info:
            line['exception'] = self.formatException(record.exc_info)
        if record.stack_info:
            line['stack'] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str)
