"""What does an append cost, below the ring's capacity and at it?

``python bench/ring.py [--quick] [--json FILE]``

CPU time of the producing process per append, for the bare ring and for
``Producer.write`` on a real segment (cancel check, fence and armed words included), in
interleaved rounds, medians. "Below": the ring has never been full. "At the cap": each
append drops as many bytes as it adds. An append must not cost more there: the ratio of
the two is the claim. The baseline in the same run is a ``bytearray`` that is appended
to and trimmed, the usual way to keep the last N bytes, which moves all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from shmstream import Streams, SupervisorConfig
from shmstream.ring.layout import HEADER_BYTES, W_CAPACITY
from shmstream.ring.ring import RingWriter

CAPACITY = 4 << 20
SIZES = (64, 200, 1024, 16384)

Append = Callable[[bytes], object]


def bare() -> Append:
    """An empty ring over process memory."""
    view = memoryview(bytearray(HEADER_BYTES + CAPACITY))
    view.cast('Q')[W_CAPACITY] = CAPACITY
    return RingWriter(view).append


def trimmed() -> Append:
    """A bytearray that keeps its last CAPACITY bytes."""
    kept = bytearray()

    def append(chunk: bytes) -> None:
        kept.extend(chunk)
        if len(kept) > CAPACITY:
            # Copied, as a vector that is erased from its front is.
            kept[:] = kept[len(kept) - CAPACITY :]

    return append


def fill(append: Append) -> None:
    """Bring a ring to its cap."""
    chunk = bytes(65536)
    for _ in range(CAPACITY // len(chunk) + 1):
        append(chunk)


def cost_us(append: Append, size: int, count: int) -> float:
    """CPU microseconds per append."""
    chunk = secrets.token_bytes(size)
    began = time.process_time_ns()
    for _ in range(count):
        append(chunk)
    return (time.process_time_ns() - began) / 1000 / count


def measure(rounds: int, budget: int) -> list[dict[str, object]]:
    """Median costs of everything, in rounds that are interleaved."""
    directory = Path(f'/dev/shm/shmstream-bench-{os.getpid()}')
    samples: dict[tuple[str, int, str], list[float]] = {}
    config = SupervisorConfig(capacity=CAPACITY)
    with Streams.attach(directory, supervise=config) as streams:
        for number in range(rounds):
            print(f'round {number + 1} of {rounds}', flush=True)
            for size in SIZES:
                # Below the cap: as many as fit into half of the ring.
                below = min(budget, CAPACITY // 2 // size)
                for name, make in (('ring', bare), ('bytearray', trimmed)):
                    append = make()
                    samples.setdefault((name, size, 'below'), []).append(
                        cost_us(append, size, below)
                    )
                    fill(append)
                    at_cap = budget if name == 'ring' else 200
                    samples.setdefault((name, size, 'at cap'), []).append(
                        cost_us(append, size, at_cap)
                    )
                with streams.create('bench') as producer:
                    samples.setdefault(('Producer.write', size, 'below'), []).append(
                        cost_us(producer.write, size, below)
                    )
                    fill(producer.write)
                    samples.setdefault(('Producer.write', size, 'at cap'), []).append(
                        cost_us(producer.write, size, budget)
                    )
    return [
        {
            'what': what,
            'bytes': size,
            'where': where,
            'us': round(statistics.median(values), 3),
            'min_us': round(min(values), 3),
            'max_us': round(max(values), 3),
        }
        for (what, size, where), values in samples.items()
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    rows = measure(*((3, 5_000) if args.quick else (9, 20_000)))
    cost = {(r['what'], r['bytes'], r['where']): float(str(r['us'])) for r in rows}
    print(f'\n{"":16}{"bytes":>8}{"below, us":>12}{"at cap, us":>12}{"ratio":>8}')
    for what in ('ring', 'Producer.write', 'bytearray'):
        for size in SIZES:
            below, at_cap = cost[what, size, 'below'], cost[what, size, 'at cap']
            print(f'{what:16}{size:8}{below:12.2f}{at_cap:12.2f}{at_cap / below:8.2f}')
    if args.json is not None:
        machine = {'machine': platform.processor(), 'python': platform.python_version()}
        args.json.write_text(json.dumps({**machine, 'rows': rows}, indent=1))


if __name__ == '__main__':
    main()
