"""gunicorn's access log, with paths that cannot forge lines of it."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class RequestLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, but ``%(U)s`` is the path as the client sent it, undecoded.

    A decoded path may hold line breaks, and could so forge lines of the log. ``%(r)s``
    is no alternative: it holds the query, in which a stream's token may be.
    """

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> Any:
        """Return the values that ``access_log_format`` can name."""
        atoms = super().atoms(resp, req, environ, request_time)
        atoms['U'] = environ.get('RAW_URI', '').partition('?')[0]
        return atoms
