"""The client of browsers: an ES module, with its types, as npm packs it.

::

    shmstream.js    reads a stream, and goes on after any loss
    shmstream.d.ts  its types, with what each part does
    package.json    ``npm pack ./shmstream/browser`` makes a tarball of both
"""

from __future__ import annotations

from pathlib import Path

MODULE = 'shmstream.js'
"""The file, and the name under which it is served."""

CONTENT_TYPE = 'text/javascript; charset=utf-8'

HEADERS = {'Cache-Control': 'no-cache', 'X-Content-Type-Options': 'nosniff'}

# Read here, because who serves it is on an event loop, as a rule.
_SCRIPT = Path(__file__).with_name(MODULE).read_bytes()


def module() -> bytes:
    """Return the module, as it is served."""
    return _SCRIPT
