"""Runs in a mount namespace of its own, with a /dev/shm that has few inodes (F18)."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tests.support.client import Live, path
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
        again = client.post('again', {'max_tokens': 1, 'tokens_per_second': 1000})
        again.rest()
        seen = {
            'made': len(live) - 1,
            'refused': [status, retry],
            'half_made': [name for name in left if name.startswith('.')],
            'stopped': stopped,
            'again': again.status,
        }
        again.close()
        for post in live:
            client.delete(path(f'c{live.index(post)}'))
            post.close()
    print(json.dumps(seen))


if __name__ == '__main__':
    main()
