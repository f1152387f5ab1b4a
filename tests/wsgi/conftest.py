"""A deployment of each test's own, and ids."""

from tests.api.conftest import conv_id

__all__ = ['conv_id']
