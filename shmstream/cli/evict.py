"""``shmstream evict``: stop streams, and remove them."""

from __future__ import annotations

from shmstream.cli.stopping import ending

command = ending(
    'evict',
    evict=True,
    text="""Stop streams that go on, and remove them at once.

    Nobody finds a removed stream any more, and its memory is free as soon as its last
    reader has gone. A stream that has ended is removed as well. Evicting needs a
    supervisor.""",
)
