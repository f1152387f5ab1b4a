"""What a comment in a page inserts.

::

    <!-- insert docstring shmstream.ring.layout -->   a module's docstring
    <!-- insert file examples/falcon_app.py -->       a file of the project, as code
    <!-- insert settings -->                          a table of all settings
    <!-- insert settings DIR SESSION_BYTES -->        what is said of these settings
    <!-- insert settings * -->                        ... of those that no other names
    <!-- insert http -->                              the routes of the service
"""

from __future__ import annotations

import re

from docs.building import routes, settings
from docs.building.docstrings import docstring
from docs.building.files import ROOT
from docs.building.sources import fenced

_INSERT = re.compile(r'^<!-- insert (\w+) ?(.*?) -->$', re.MULTILINE)


def inserted(text: str) -> str:
    """Return a page with all that its comments ask for.

    Raises:
        LookupError: a comment asks for what is not there.
    """
    named = {
        name
        for kind, what in _INSERT.findall(text)
        if kind == 'settings'
        for name in what.split()
    }

    def insert(match: re.Match[str]) -> str:
        kind, what = match[1], match[2]
        match kind:
            case 'docstring':
                return docstring(what)
            case 'file':
                return fenced(ROOT / what)
            case 'http':
                return routes.routes()
            case 'settings' if not what:
                return settings.overview()
            case 'settings' if what == '*':
                return settings.sections(
                    [name for name in settings.described() if name not in named]
                )
            case 'settings':
                return settings.sections(what.split())
        raise LookupError(f'nothing is known to insert by {match[0]}')

    return _INSERT.sub(insert, text)
