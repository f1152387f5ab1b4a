"""What takes a namespace of its own: a small file system, or a private one."""

from __future__ import annotations

import os
import shutil

import pytest

needs_unshare = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which('unshare') is None,
    reason='a namespace takes root and unshare',
)
