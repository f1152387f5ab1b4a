"""gunicorn's logs: no request path can forge a line, and all lines can be JSON."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from shmstream.errors import SettingsError
from shmstream.logs.form import id_form, in_json
from shmstream.logs.json_lines import JsonLines
from shmstream.logs.shown_path import shown_path
from shmstream.logs.trace_context import valid_parent, valid_request_id


class RequestLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, with values that no client can forge, and lines in JSON.

    ``%(U)s`` is the path as the client sent it, undecoded: a decoded path may hold line
    breaks, and so could forge lines of the log. What is not printable in it is
    percent-encoded. ``%(r)s`` is no alternative, because it holds the query, which may
    contain a stream's token. Where conversation ids must not be shown, a star stands
    for them. ``%(request_id)s`` and ``%(trace_id)s`` are empty unless the request has
    valid ones.
    """

    def setup(self, cfg: Any) -> None:
        """Make the handlers; gunicorn calls this at the start and at each reload."""
        super().setup(cfg)
        try:
            self._shows_ids = id_form() == 'plain'
        except SettingsError:
            # The hooks end the service with a line about this in a moment.
            self._shows_ids = False
        self._in_json = in_json()
        if self._in_json:
            for log in (self.error_log, self.access_log):
                for handler in log.handlers:
                    # Those of ``--log-config`` have formatters of the operator's own.
                    if getattr(handler, '_gunicorn', False):
                        handler.setFormatter(JsonLines())

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> Any:
        """Return the values that ``access_log_format`` can name."""
        atoms = super().atoms(resp, req, environ, request_time)
        atoms['U'] = shown_path(environ.get('RAW_URI', ''), ids=self._shows_ids)
        atoms['request_id'] = valid_request_id(_sent(atoms, 'x-request-id')) or '-'
        trace_id = valid_parent(_sent(atoms, 'traceparent'))[0]
        atoms['trace_id'] = f'{trace_id:032x}' if trace_id else '-'
        return atoms

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Log a response that is over."""
        if not self._in_json:
            super().access(resp, req, environ, request_time)
        elif getattr(self, 'access_log_enabled', True):
            # Versions before 26 do not tell; without a handler nothing is written.
            atoms = self.atoms(resp, req, environ, request_time)
            self.access_log.info('response sent', extra=_fields(atoms))


def _sent(atoms: dict[str, Any], name: str) -> list[bytes]:
    """Return the values of a request header."""
    value = atoms.get(f'{{{name}}}i')
    return [] if value is None else [str(value).encode()]


def _fields(atoms: dict[str, Any]) -> dict[str, Any]:
    """Return what a line in JSON says; what a response has not is not there."""
    fields = {
        'client': atoms['h'],
        'method': atoms['m'],
        'path': atoms['U'],
        'status': _number(atoms['s']),
        'bytes': atoms['B'],
        'seconds': float(atoms['L']),
        'from': _number(atoms.get('{stream-offset}o')),
        'state': atoms.get('{stream-state}o'),
        'generation': atoms.get('{stream-generation}o'),
        'request_id': atoms['request_id'],
        'trace_id': atoms['trace_id'],
    }
    return {k: v for k, v in fields.items() if v is not None and v != '-'}


def _number(text: Any) -> Any:
    return int(text) if str(text).isdecimal() else text
