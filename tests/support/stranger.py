"""Another part in the deployment for this process, as if it were another process."""

from __future__ import annotations

from pathlib import Path

from shmstream import Streams
from shmstream.memory.directory import RuntimeDirectory
from shmstream.process.attachment import Attachment
from shmstream.process.host import Nobody
from shmstream.process.this_process import ThisProcess


def stranger(directory: Path) -> Streams:
    """Attach with a slot, a thread and a connection that nobody else here shares."""

    def join() -> Attachment:
        where = RuntimeDirectory(directory)
        return Attachment(
            ThisProcess(where, None, list, Nobody(), lambda unused: unused.close())
        )

    return Streams(join)
