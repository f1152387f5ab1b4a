"""What does it cost to import the library? Time, memory and modules.

Each import is the first one of an interpreter of its own. The baseline is an
interpreter that imports nothing, and beside it stands one that imports asyncio, which
every application under an event loop has imported anyway.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench.measure import interleaved, say, stat
from bench.report import ROOT, Options, Report, Row

NOTHING = 'nothing'
IMPORTS = {
    NOTHING: 'pass',
    'asyncio': 'import asyncio',
    'shmstream': 'import shmstream',
    'shmstream after asyncio': 'import asyncio\nstart()\nimport shmstream',
    'shmstream.asgi': 'import shmstream.asgi',
    'shmstream.wsgi': 'import shmstream.wsgi',
    'shmstream.client': 'import shmstream.client',
    'deploy.hooks': 'import shmstream.deploy.hooks',
    'the service': 'import shmstream.http.app',
    'the service, with upstream': (
        'import shmstream.http.app, shmstream.upstream.connections'
    ),
}

_PROGRAM = """
import sys, time
began = had = 0
def start():
    global began, had
    began, had = time.process_time(), set(sys.modules)
start()
{code}
took = time.process_time() - began
more = len(set(sys.modules) - had)
with open('/proc/self/smaps_rollup') as rollup:
    rss = next(int(line.split()[1]) for line in rollup if line.startswith('Rss:'))
print('{{"ms": %f, "modules": %d, "rss": %d}}' % (took * 1e3, more, rss))
"""


def _once(code: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, '-c', _PROGRAM.format(code=code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        # Compiled modules have to be kept, or each import would compile them.
        env={k: v for k, v in os.environ.items() if k != 'PYTHONDONTWRITEBYTECODE'},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def run(options: Options) -> Report:
    """Measure everything in interleaved rounds."""
    report = Report('weight', 'CPU time, memory and modules of an import')
    rounds = options.rounds or (5 if options.quick else 15)
    names = [name for name in IMPORTS if name == NOTHING or options.wants(name)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for name in names:
        # Once without measuring, so that the compiled modules are there.
        _once(IMPORTS[name])
    said = -1
    for number, name in interleaved(rounds, names):
        if number != said:
            said = number
            say(f'round {number + 1} of {rounds}')
        found[name].append(_once(IMPORTS[name]))
    base = stat(one['rss'] for one in found[NOTHING]).median
    for name in names:
        each = found[name]
        report.rows.append(
            Row(
                name,
                'import',
                {
                    'CPU ms': stat(one['ms'] for one in each),
                    'MiB more than nothing': stat(
                        (one['rss'] - base) / 1024 for one in each
                    ),
                    'modules': stat(one['modules'] for one in each),
                },
            )
        )
    report.notes.append('the time of "shmstream after asyncio" is without asyncio')
    return report
