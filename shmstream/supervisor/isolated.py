"""Run a module of this package where no other module can shadow what it imports.

``spawn`` starts ``python -P isolated.py ROOT shmstream.supervisor ...``. This file is
run, not imported: it must not import the package before it has fixed where the package
is loaded from.
"""

from __future__ import annotations

import runpy
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def main() -> None:
    """Run the module ``sys.argv[2]``, with its dependencies in ``sys.argv[1]``."""
    dependencies, module = sys.argv[1:3]
    del sys.argv[1:3]
    # At the end, so that nothing in that folder shadows the standard library.
    sys.path.append(dependencies)
    # This package, and not another version that comes first on the path.
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
