"""The example's WSGI application, which also says which process produces."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from typing import Any

# By name, as servers load it: the examples are no package.
example: Any = importlib.import_module('examples.wsgi_app').app


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        if status.startswith('202'):
            headers = [*headers, ('Stream-Worker', str(os.getpid()))]
        return start_response(status, headers, *more)

    body: Iterable[bytes] = example(environ, start)
    return body
