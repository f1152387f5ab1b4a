"""What readers are told when a source fails, and what goes into the log."""

from __future__ import annotations

import logging

from shmstream.errors import ShmstreamError
from shmstream.producer import Producer

log = logging.getLogger('shmstream')


class SourceFailed(ShmstreamError):
    """Raise it in a source: its text is what the readers of the stream are told.

    Any other exception is told by its type only, because its text is meant for the
    application's log, and may hold what no client should see.

    Example::

        async def model(prompt):
            yield 'Hello'
            raise SourceFailed('the model is busy, ask again in a minute')

        await streams.start('chat-1', model('Hello'))
    """


class NotEncodable(ShmstreamError):
    """The source has yielded something that its stream's format cannot say."""


def fail(producer: Producer, error: BaseException) -> None:
    """Abort the stream of a source that has raised, and log the error.

    A stream that has ended already stays as it is. A source that was stopped may raise
    whatever it likes: that is logged for those who look for it only.
    """
    if producer.state.final:
        log.debug('stream %s: its source raised', producer.generation, exc_info=error)
    elif isinstance(error, (SourceFailed, NotEncodable)):
        log.warning('stream %s: %s', producer.generation, error)
        producer.abort(str(error) or type(error).__name__)
    else:
        log.error('stream %s: its source failed', producer.generation, exc_info=error)
        producer.abort(f'the source failed: {type(error).__name__}')
