"""Looks for what will bite a deployment, before it does, and says what to do.

=================== ==================================================================
``examination``     all checks, each bounded in time, and the part that is quick
``finding``         what a check has found
``case``            what is examined: a deployment that runs, or one about to start
``server``          gunicorn's own settings
``running``         what runs in a runtime directory, found without disturbing it
``memory``          checks: the file system, and the limits on memory
``limits``          checks: descriptors and mappings
``place``           checks: the runtime directory, and what is left behind
``workers``         checks: gunicorn's workers and timeouts, and who can reach them
``versions``        check: the versions of what runs and of this program
``clocks``          check: the clocks
``upstream``        check: the upstream
``plan``            how much memory and how many descriptors a load takes
=================== ==================================================================
"""

from __future__ import annotations

from shmstream.doctor.case import Case, examined
from shmstream.doctor.examination import examine, quick
from shmstream.doctor.finding import Finding, Result
from shmstream.doctor.server import ServerSettings

__all__ = [
    'Case',
    'Finding',
    'Result',
    'ServerSettings',
    'examine',
    'examined',
    'quick',
]
