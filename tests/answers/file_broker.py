"""A broker of files for Celery in which a message is whole as soon as it is there.

kombu's own transport writes a message where consumers look for it, so that a consumer
may read half of it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from kombu.transport import filesystem


class Channel(filesystem.Channel):
    """Writes messages aside, and moves them."""

    def _put(  # type: ignore[override]
        self, queue: Any, payload: Any, **kwargs: Any
    ) -> None:
        aside = Path(self.transport_options['data_folder_out'])
        aside.mkdir(exist_ok=True)
        put: Any = super()._put
        put(queue, payload, **kwargs)
        for file in aside.iterdir():
            # Another thread may move it as well.
            with contextlib.suppress(FileNotFoundError):
                os.rename(file, Path(self.data_folder_in) / file.name)


class Transport(filesystem.Transport):
    """The transport of such channels."""

    Channel = Channel
