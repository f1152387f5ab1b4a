"""Run a module of this package where no stranger's module can get in the way.

``python -P isolated.py ROOT shmstream.supervisor ...`` is what ``spawn`` starts. This
file is run as it is, not imported: of the package it may use nothing before it has said
where that is.
"""

from __future__ import annotations

import runpy
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def main() -> None:
    """Run ``sys.argv[2]``; ``sys.argv[1]`` is where its dependencies may be."""
    dependencies, module = sys.argv[1:3]
    del sys.argv[1:3]
    # At the end: whatever else is there hides nothing of the standard library.
    sys.path.append(dependencies)
    # This very package, not another version that comes first on the path.
    root = str(Path(__file__).resolve().parents[2])
    spec = PathFinder.find_spec('shmstream', [root])
    if spec is None or spec.loader is None:
        sys.exit(f'shmstream supervisor: there is no package shmstream in {root}')
    package = module_from_spec(spec)
    sys.modules['shmstream'] = package
    try:
        spec.loader.exec_module(package)
        runpy.run_module(module, run_name='__main__', alter_sys=True)
    except ImportError as ex:
        sys.exit(f'shmstream supervisor: {ex}')


if __name__ == '__main__':
    main()
