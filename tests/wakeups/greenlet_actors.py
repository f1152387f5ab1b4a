"""Processes whose threads are greenlets; they are patched before anything else."""

from __future__ import annotations

import importlib
from typing import Any

from shmstream import LocalError, Streams
from shmstream.process import this_process
from shmstream.wakeups import doorbell_thread, hub_in_threads
from tests.support.child import say

FAR_S = 1000.0
"""Nobody looks by himself within any test: only who is rung for sees anything."""


def _patched_by_gevent() -> Any:
    gevent = importlib.import_module('gevent')
    importlib.import_module('gevent.monkey').patch_all()
    for module in (doorbell_thread, hub_in_threads, this_process):
        module.NET_S = FAR_S  # type: ignore[attr-defined]
    return gevent


def follow(directory: str, conv_id: str, count: int) -> None:
    """Follow a stream in greenlets, all of one thread; say what each has seen."""
    gevent = _patched_by_gevent()
    with Streams.attach(directory) as streams:
        followers = [streams.open(conv_id).follow() for _ in range(count)]
        jobs = [gevent.spawn(b''.join, follower) for follower in followers]
        while streams.followers < count:
            gevent.sleep(0)
        say('following')
        say([job.get().decode() for job in jobs])


def write_and_follow(directory: str, conv_id: str, natively: bool) -> None:
    """Do both here; write from a native thread if told to."""
    gevent = _patched_by_gevent()
    with Streams.attach(directory) as streams:
        producer = streams.create(conv_id)
        follower = streams.open(conv_id).follow()
        job = gevent.spawn(b''.join, follower)
        for number in range(20):
            if natively:
                pool = gevent.get_hub().threadpool
                pool.apply(producer.write, (b'%d ' % number,))
            else:
                producer.write(b'%d ' % number)
            while follower.offset < producer.total_bytes:
                gevent.sleep(0)
        producer.finish()
        say(job.get().decode())


def attach_under_eventlet(directory: str) -> None:
    """Say what comes of it."""
    importlib.import_module('eventlet').monkey_patch()
    with Streams.attach(directory) as streams:
        try:
            streams.connect()
        except LocalError as ex:
            say(str(ex))
