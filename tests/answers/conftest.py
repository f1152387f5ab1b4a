"""A deployment that a module's tests share: each stream has a name of its own."""

from tests.api.conftest import conv_id, streams

__all__ = ['conv_id', 'streams']
