"""Producing that the library owns: ``Streams.start`` and ``Streams.start_in_thread``.

A *source* (an iterator of the application) is written into a stream by a *production*:
a task or a thread of its own, which goes on to the end whoever leaves::

    starting         makes the stream, begins the production, returns a ``Started``
    started          what a response is made of

    sources          what may be a source, and how a source is closed
    failures         what readers are told when a source fails
    formats          the formats by their names
    encoding         one item of a source as JSON, or as a server-sent event
    ui_messages      the AI SDK's UI message stream
    sse_event        a server-sent event with a name or an id

    writing          items of a source to whole events
    portions         how much is written without giving the readers a turn
    loop_writer      writes whole events from an event loop, at the readers' pace
    pace             waits for the reader of the response that began the stream
    async_source     the loop over an async iterator
    blocking_source  the loop over an iterator
    production       what a task and a thread have in common
    task             a production that is a task
    thread           a production that is a thread

    running          the productions that run in this process
    drain            lets them run on when the process leaves, up to a limit

The modules know no server. Who runs the process calls ``running.here.drained_by``, and
waits for the productions before the process ends (``shmstream.deploy``).
"""

from shmstream.producing.failures import SourceFailed
from shmstream.producing.formats import Format, encoded
from shmstream.producing.sse_event import SseEvent
from shmstream.producing.started import Started

__all__ = ['Format', 'SourceFailed', 'SseEvent', 'Started', 'encoded']
