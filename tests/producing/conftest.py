"""A deployment that a module's tests share: each stream has a name of its own."""

from __future__ import annotations

from tests.api.conftest import conv_id, hire, streams

__all__ = ['conv_id', 'hire', 'streams']
