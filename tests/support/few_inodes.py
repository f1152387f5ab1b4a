"""Runs in a mount namespace of its own, with a /dev/shm that has few inodes (F18)."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tests.support.client import Live, path
from tests.support.leaks import wait_until
from tests.support.service import Service


def main() -> None:
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=64m,nr_inodes=30', 'tmpfs', '/dev/shm'],
        check=True,
    )
    log = Path(tempfile.mkdtemp()) / 'log'
    with Service(log, workers=2, settings={'DEMO_RATE': '1'}) as service:
        client = service.client()
        live: list[Live] = []
        status = 200
        while status == 200 and len(live) < 60:
            post = client.post(f'c{len(live)}', {'max_tokens': 1000})
            status = post.status
            live.append(post)
        retry = live[-1].headers.get('retry-after')
        left = [p.name for p in (service.directory / 'sessions').iterdir()]
        stopped = client.delete(path('c0')).status
        again = 0

        def served() -> bool:
            # The inode is free once the last who has it mapped has let go.
            nonlocal again
            with client.post(
                'again', {'max_tokens': 1, 'tokens_per_second': 1000}
            ) as post:
                again = post.status
            return again == 200

        wait_until(served)
        seen = {
            'made': len(live) - 1,
            'refused': [status, retry],
            'half_made': [name for name in left if name.startswith('.')],
            'stopped': stopped,
            'again': again,
        }
        for post in live:
            client.delete(path(f'c{live.index(post)}'))
            post.close()
    print(json.dumps(seen))


if __name__ == '__main__':
    main()
