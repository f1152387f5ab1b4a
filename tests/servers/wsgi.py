"""The example's WSGI application, which also says which process answers."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import Any

# By name, as servers load it: the examples are no package.
example: Any = importlib.import_module('examples.wsgi_app').app


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        return start_response(
            status, [*headers, ('Stream-Worker', str(os.getpid()))], *more
        )

    body: Iterable[bytes] = example(environ, start)
    return body
