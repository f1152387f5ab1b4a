"""``shmstream stop``: stop streams, and keep what they have."""

from __future__ import annotations

from shmstream.cli.stopping import ending

command = ending(
    'stop',
    evict=False,
    text="""Stop streams, and keep what was written.

    The model is told to stop in whatever worker it runs, and readers get the stream's
    end. On a runtime directory the streams of all owners can be stopped, and are kept
    until they expire. Over a URL only streams of the key can be stopped, and a stop
    removes them too, as the service's DELETE does. Stopping needs a supervisor.""",
)
