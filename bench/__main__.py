"""``python -m bench [QUESTION ...]``: one command per question, one for all."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from bench import plotting
from bench.machine import machine
from bench.report import Options, publish

QUESTIONS = {
    'ring': 'what does an append cost, below the ring and at its cap?',
    'wake': 'how long from a write to the bytes in another process?',
    'replay': 'a finished stream, against nginx with sendfile and the HTTP floor',
    'follow': 'live streams: CPU per event, latency, highest rate held',
    'proxy': 'what does the ring cost between an upstream and its client?',
    'scale': 'does cost grow with sessions, followers, memory?',
    'sizes': 'what does a deployment take, and an answer that it proxies?',
    'weight': 'what does it cost to import the library?',
    'metrics': 'what does counting cost, alone and on the way of a live event?',
}


def _options(args: argparse.Namespace) -> Options:
    return Options(
        out=args.out,
        quick=args.quick,
        rounds=args.rounds,
        only=tuple(args.only.split(',')) if args.only else (),
        workload=tuple(args.workload.split(',')) if args.workload else (),
        rate=tuple(map(float, args.rate.split(','))) if args.rate else (),
        seconds=args.seconds,
        streams=args.streams,
        readers=args.readers,
    )


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the questions that were asked for, or all of them."""
    parser = argparse.ArgumentParser(
        prog='python -m bench',
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(f'{name:8}{text}' for name, text in QUESTIONS.items()),
    )
    parser.add_argument('question', nargs='*', help='default: all', metavar='QUESTION')
    parser.add_argument('--quick', action='store_true', help='under a minute each')
    parser.add_argument('--rounds', type=int, help='interleaved rounds')
    parser.add_argument('--out', type=Path, default=Path('bench-results'))
    parser.add_argument('--only', help='peers, by commas')
    parser.add_argument('--workload', help='workloads, by commas')
    parser.add_argument('--rate', help='events per second and stream, by commas')
    parser.add_argument('--seconds', type=float, help='length of a measured window')
    parser.add_argument('--streams', type=int)
    parser.add_argument('--readers', type=int, help='per stream')
    args = parser.parse_args()
    if unknown := set(args.question) - set(QUESTIONS):
        parser.error(f'no such question: {", ".join(sorted(unknown))}')
    # As an exception, so that every process that was started is ended.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    options, failed = _options(args), []
    for name in args.question or QUESTIONS:
        began = time.monotonic()
        print(f'{name}: {QUESTIONS[name]}', file=sys.stderr, flush=True)
        where = machine()
        try:
            module = importlib.import_module(f'bench.questions.{name}')
            report = module.run(options)
            publish(report, where, options.out)
            plotting.draw(report.plots, where, options.out)
        except KeyboardInterrupt:
            return 130
        except Exception as ex:
            if args.question:
                raise
            failed.append(name)
            print(f'{name} failed: {ex!r}', file=sys.stderr)
        print(f'- took {time.monotonic() - began:.0f} s', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
