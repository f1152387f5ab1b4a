"""The example's WSGI application, which also says which process answers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from examples.wsgi_app import app as example


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(
            status, [*headers, ('Stream-Worker', str(os.getpid()))], *more
        )

    return example(environ, start)
