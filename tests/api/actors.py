"""What the other processes of the library's tests do."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from shmstream import FollowCut, Producer, Streams
from shmstream.memory.worker_table import WorkerTable
from tests.support.child import hear, say
from tests.support.leaks import wait_until


def tell_pid(directory: str, conv_id: str) -> None:
    """Write events that hold this process's id."""
    with Streams.attach(directory) as streams, streams.create(conv_id) as producer:
        for number in range(100):
            producer.write(b'data: %d %d\n\n' % (os.getpid(), number))
    say(os.getpid())


def read_pid(directory: str, conv_id: str) -> None:
    """Follow, and say who wrote and who read."""
    with Streams.attach(directory) as streams:
        say('ready')
        hear()
        events = b''.join(streams.open(conv_id).follow()).decode().split('\n\n')[:-1]
        writers = {int(event.split()[1]) for event in events}
        say({'events': len(events), 'writers': sorted(writers), 'reader': os.getpid()})


def _wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork_and_go_on(directory: str) -> None:
    """Fork while attached, producing and following; both sides go on."""
    streams = Streams.attach(directory)
    producer = streams.create('parent')
    producer.write(b'one ')
    follower = streams.open('parent').follow()
    assert next(follower) == b'one '
    ours, had = streams._process, streams._process.holder.require().slot
    found: dict[str, Any] = {'listeners before': producer.followers}
    pid = os.fork()
    if not pid:
        # A child has a part of its own, made when it needs one.
        assert threading.active_count() == 1
        with streams.create('child') as own:
            own.write(b'child')
        assert streams._process is not ours
        assert streams._process.holder.require().slot != had
        assert b''.join(streams.open('child').follow()) == b'child'
        assert streams.open('parent').read() == b'one '
        # What it inherited is the parent's: dropping it must change nothing.
        del producer, follower
        # With all that an interpreter does at its end.
        sys.exit(0)
    found['child'] = _wait(pid)
    found['listeners after'] = producer.followers
    found['wrote'] = producer.write(b'two')
    found['next'] = next(follower).decode()
    found['same'] = streams._process is ours
    found['child read'] = streams.open('child').read().decode()
    found['state'] = streams.open('parent').state.label
    producer.finish()
    found['rest'] = b''.join(follower).decode()
    streams.close()
    say(found)


def fork_and_die(directory: str) -> None:
    """Produce, fork a child that lives on, and be killed."""
    streams = Streams.attach(directory)
    producer = streams.create('c')
    producer.write(b'data: x\n\n')
    pid = os.fork()
    if not pid:
        # Until the test ends it: nothing of the parent's is its business.
        os.dup2(os.open('/dev/null', os.O_RDWR), 1)
        time.sleep(30)
        os._exit(0)
    say(pid)
    hear()


def write_in_the_child(directory: str) -> None:
    """Fork, and have the child try to write to what it inherited."""
    streams = Streams.attach(directory)
    producer = streams.create('c')
    producer.write(b'parent ')
    pid = os.fork()
    if not pid:
        os._exit(int(producer.write(b'child ')))
    wrote = _wait(pid)
    producer.write(b'parent')
    producer.finish()
    say({'wrote': wrote, 'data': streams.open('c').read().decode()})
    streams.close()


def leave_without_closing(directory: str) -> None:
    """End the interpreter with everything open."""
    streams = Streams.attach(directory)
    producer = streams.create('c')
    producer.write(b'x')
    follower = streams.open('c').follow()
    next(follower)
    blocked = streams.open('c').follow(1)
    threading.Thread(target=list, args=(blocked,), daemon=True).start()
    say('ready')
    hear()
    # Kept to the end.
    globals()['kept'] = (streams, producer, follower)


def fork_while_a_thread_writes(directory: str) -> None:
    """Fork while another thread is within a write: its lock is held for ever then."""
    with Streams.attach(directory) as streams:
        producer = streams.create('c')
        producer.write(b'parent ')
        writing, forked = threading.Event(), threading.Event()

        def write() -> None:
            with producer._lock:
                writing.set()
                forked.wait()
                producer.write(b'parent')

        thread = threading.Thread(target=write)
        thread.start()
        writing.wait()
        pid = os.fork()
        if not pid:
            signal.alarm(5)
            os._exit(int(producer.write(b'child ')))
        forked.set()
        wrote = _wait(pid)
        thread.join()
        producer.finish()
        say({'wrote': wrote, 'data': streams.open('c').read().decode()})


def fork_while_a_thread_looks(directory: str) -> None:
    """Fork while another thread goes through what is produced; the child leaves."""
    with Streams.attach(directory) as streams:
        producer = streams.create('c')
        looking, forked = threading.Event(), threading.Event()

        def look() -> None:
            with streams._process.producers._lock:
                looking.set()
                forked.wait()

        thread = threading.Thread(target=look)
        thread.start()
        looking.wait()
        pid = os.fork()
        if not pid:
            signal.alarm(5)
            with producer:
                producer.abort('not ours')
            os._exit(0)
        forked.set()
        code = _wait(pid)
        thread.join()
        say({'child': code, 'state': producer.state.label})
        producer.finish()


def fork_without_the_streams(directory: str) -> None:
    """Fork with a producer whose ``Streams`` nobody has kept."""
    producer = Streams.attach(directory).create('c')
    producer.write(b'parent ')
    pid = os.fork()
    if not pid:
        os._exit(int(producer.write(b'child ')))
    wrote = _wait(pid)
    producer.write(b'parent')
    say({'wrote': wrote, 'data': Streams.attach(directory).open('c').read().decode()})
    # The end of the interpreter finds it still open.
    globals()['kept'] = producer


# -- attaching, closing and dropping ---------------------------------------------------


def close_twice(directory: str) -> None:
    """Attach, close twice, use it again; say how many threads there are each time."""
    found: list[int] = [threading.active_count()]
    attached = Streams.attach(directory)
    found.append(threading.active_count())
    attached.connect()
    found.append(threading.active_count())
    for _ in range(2):
        attached.close()
        found.append(threading.active_count())
    # It can be used again: it attaches anew.
    with attached.create('twice') as producer:
        found.append(producer.write(b'x'))
        found.append(threading.active_count())
    attached.close()
    found.append(threading.active_count())
    say(found)


def close_one_by_one(directory: str) -> None:
    """Attach twice, with a stream and a follower each; close one, then the other."""
    one, two = Streams.attach(directory), Streams.attach(directory)
    first, second = one.create('first'), two.create('second')
    second.write(b'x')
    theirs, ours = one.open('second').follow(), two.open('second').follow()
    assert next(theirs) == next(ours) == b'x'
    found: dict[str, Any] = {'threads': [threading.active_count()]}
    one.close()
    found['threads'].append(threading.active_count())
    found['first'] = first.state.label
    try:
        next(theirs)
    except FollowCut as ex:
        found['cut'] = type(ex).__name__
    second.write(b' and more')
    second.finish()
    found['second'] = second.state.label
    found['rest'] = 'x' + b''.join(ours).decode()
    two.close()
    found['threads'].append(threading.active_count())
    say(found)


def _held(directory: str) -> tuple[int, int, int]:
    table = WorkerTable.attach(Path(directory) / 'workers')
    slots = sum(bool(table.epoch(slot)) for slot in range(64))
    return len(os.listdir('/proc/self/fd')), threading.active_count(), slots


def attach_and_drop(directory: str, collects: bool, forks: bool) -> None:
    """Attach again and again, with something in use, and close nothing."""
    if not collects:
        gc.disable()
    slots = _held(directory)[2]
    producer: Producer | None = Streams.attach(directory).create('dropped')
    producer = None
    # The supervisor sees a little later than we that the slot is free.
    assert wait_until(lambda: _held(directory)[1:] == (1, slots))
    before = _held(directory)
    many = [Streams.attach(directory) for _ in range(64)]
    for each in many:
        each.connect()
    now = _held(directory)
    found: dict[str, Any] = {
        'slots at once': now[2] - before[2],
        'threads at once': now[1],
    }
    many.clear()
    del each
    for number in range(200):
        streams = Streams.attach(directory)
        streams.connect()
        if number % 50 == 0:
            producer = streams.create('dropped')
            producer.write(b'x')
            follower = streams.open('dropped').follow()
            assert next(follower) == b'x'
            if forks:
                pid = os.fork()
                if not pid:
                    Streams.attach(directory).connect()
                    os._exit(0)
                assert _wait(pid) == 0
            producer = None
            del follower
        del streams
    found['settled'] = wait_until(lambda: _held(directory) == before)
    found['held'] = (before, _held(directory))
    say(found)
