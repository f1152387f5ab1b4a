"""gunicorn's access log, in which no request path can forge a line."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class RequestLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, but ``%(U)s`` is the path as the client sent it, undecoded.

    A decoded path may hold line breaks, and so could forge lines of the log. ``%(r)s``
    is no alternative, because it holds the query, which may contain a stream's token.
    """

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> Any:
        """Return the values that ``access_log_format`` can name."""
        atoms = super().atoms(resp, req, environ, request_time)
        atoms['U'] = environ.get('RAW_URI', '').partition('?')[0]
        return atoms
