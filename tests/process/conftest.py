"""The deployment that a module's tests share, as in ``tests/api``."""

from tests.api.conftest import conv_id, streams

__all__ = ['conv_id', 'streams']
