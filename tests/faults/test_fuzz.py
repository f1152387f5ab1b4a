"""The HTTP surface against its own description: schemathesis makes up the requests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.service import Service


def test_no_made_up_request_is_a_server_error(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    # As fast as can be: a whole answer takes the demo model its time.
    service = serve(workers=2, settings={'DEMO_RATE': '100000'})
    command = [
        *(str(Path(sys.executable).parent / 'schemathesis'), 'run'),
        f'http://127.0.0.1:{service.port}/_shmstream/openapi.json',
        *('--checks', 'not_a_server_error,status_code_conformance'),
        *('--max-examples', '15', '--seed', '1', '--workers', '1'),
        *('--request-timeout', '15', '--generation-database', 'none'),
        *('--suppress-health-check', 'all', '--phases', 'examples,coverage,fuzzing'),
    ]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
