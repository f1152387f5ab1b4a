"""Resumable streams for multi-worker gunicorn, in shared memory, without Redis."""

from shmstream.consumer import Consumer
from shmstream.errors import (
    ControlError,
    DirectoryRefused,
    FollowCut,
    InvalidConversationId,
    LayoutMismatch,
    LocalError,
    NoRoom,
    OffsetLost,
    SettingsError,
    ShmstreamError,
    StreamNotFound,
    StreamReplaced,
    SupervisorUnavailable,
)
from shmstream.follower import Follower
from shmstream.ids import owner_of
from shmstream.producer import Producer
from shmstream.producing import Format, SourceFailed, SseEvent, Started, encoded
from shmstream.ring.state import State
from shmstream.streams import Streams
from shmstream.supervisor.config import SupervisorConfig
from shmstream.version import __version__

__all__ = [
    'Consumer',
    'ControlError',
    'DirectoryRefused',
    'FollowCut',
    'Follower',
    'Format',
    'InvalidConversationId',
    'LayoutMismatch',
    'LocalError',
    'NoRoom',
    'OffsetLost',
    'Producer',
    'SettingsError',
    'ShmstreamError',
    'SourceFailed',
    'SseEvent',
    'Started',
    'State',
    'StreamNotFound',
    'StreamReplaced',
    'Streams',
    'SupervisorConfig',
    'SupervisorUnavailable',
    '__version__',
    'encoded',
    'owner_of',
]
