"""Runs in a mount namespace of its own, with a /dev/shm of a few pages (F16)."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tests.support.service import Service


def main() -> None:
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', '/dev/shm'], check=True
    )
    log = Path(tempfile.mkdtemp()) / 'log'
    answers = []
    with Service(log, workers=2) as service:
        pids = service.worker_pids()
        client = service.client()
        for number in range(6):
            with client.post(f'c{number}', {'max_tokens': 5}) as post:
                post.rest()
                answers.append([post.status, post.headers.get('retry-after')])
        with client.post(None, {'max_tokens': 5, 'tokens_per_second': 1000}) as plain:
            plain.rest()
        same = service.worker_pids() == pids
    text = service.text()
    told = 'no room' in text or 'No space' in text
    print(json.dumps([answers, plain.status, same, told]))


if __name__ == '__main__':
    main()
