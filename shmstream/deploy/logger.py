"""The access log's view of a request."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger


class RequestLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, with ``%(U)s`` as the path that was sent, undecoded.

    Decoded it may hold line breaks, and forge lines of the log; ``%(r)s`` has the query
    with it, and a stream's token may be in that.
    """

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> Any:
        """What ``access_log_format`` can name."""
        atoms = super().atoms(resp, req, environ, request_time)
        atoms['U'] = environ.get('RAW_URI', '').partition('?')[0]
        return atoms
