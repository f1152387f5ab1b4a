"""The FastAPI applications, in a process that notes who writes to the transport."""

from __future__ import annotations

from typing import Any

from shmstream.asgi import writer
from shmstream.deploy.direct_writer import DirectWriter
from tests.answers.fastapi_app import FOLDER, app

__all__ = ['app']


class _Noting(DirectWriter):
    """Notes each response that it writes."""

    def chunk_writer(self) -> Any:
        write = super().chunk_writer()
        if write is not None:
            with (FOLDER / 'written').open('a') as file:
                file.write(f'{DirectWriter.__name__}\n')
        return write


writer.DirectWriter = _Noting  # type: ignore[attr-defined]
