"""Runs in a mount namespace of its own, with a /dev/shm as small as a container's.

``python -m tests.support.small_shm MEBIBYTES`` is what ``unshare -m`` is told to run;
it prints one JSON object of what it saw.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.client import path
from tests.support.service import Service

TOKENS = 6000
"""Some 1.2 MB of events each."""


def main() -> None:
    size = sys.argv[1]
    subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}m', 'tmpfs', '/dev/shm'], check=True
    )
    log = Path(tempfile.mkdtemp()) / 'log'
    with Service(log, workers=2, settings={'DEMO_RATE': '100000'}) as service:
        client = service.client()
        states, whole = [], []
        for number in range(20):
            with client.post(f'c{number}', {'max_tokens': TOKENS}) as post:
                post.rest()
            states.append(
                client.call('HEAD', path(f'c{number}')).headers['stream-state']
            )
            whole.append(bool(post.whole))
        # Somebody else fills what is left; who is there already must not notice.
        slow = client.post('slow', {'max_tokens': 60, 'tokens_per_second': 60})
        slow.until(500)
        filler = Path('/dev/shm/filler')
        # Without a buffer, which would be written once more when the file is closed.
        with filler.open('wb', buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        crowded = client.post('crowded', {'max_tokens': TOKENS})
        crowded.rest()
        slow.rest()
        filler.unlink()
        with client.post('again', {'max_tokens': TOKENS}) as again:
            again.rest()
        seen = {
            'room': next(line for line in service.text().splitlines() if 'MiB' in line),
            'states': states,
            'whole': whole,
            'kept': client.get(path('c19')).status,
            'slow': bytes(slow.body[-14:]).decode(),
            'crowded': [crowded.status, bytes(crowded.body[-14:]).decode()],
            'again': [again.status, bytes(again.body[-14:]).decode()],
        }
        slow.close()
        crowded.close()
    print(json.dumps(seen))


if __name__ == '__main__':
    main()
