"""Process limits: a mapping keeps a descriptor on Python before 3.13."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> int:
    """Raise the soft limit on descriptors to the hard one; return what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
