"""The supervisors and workers of the supervisor's own tests."""

from __future__ import annotations

from tests.supervisor.conftest import hire, start, supervisor

__all__ = ['hire', 'start', 'supervisor']
