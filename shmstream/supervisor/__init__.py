"""The supervisor: a process of its own that owns the set of sessions.

::

    spawn.py            how others start it
    __main__.py         the process
    server.py           its loop: control socket, timers
    lock_and_socket.py  its lock, and its control socket
    connection.py       one worker's connection
    operations.py       what can be asked
    registry.py         sessions: made, replaced, evicted, collected
    index.py            all of them, by whatever finds one
    segment_words.py    the words by which they are cancelled and evicted
    adoption.py         those that a predecessor has left
    finishing.py        those whose producer has died
    predecessors.py     what has ended, kept until its successor begins
    gone.py             what is no session any more, and still mapped
    session.py          one of them
    workers.py          slots and doorbells
    master_watch.py     the processes it works for
    config.py           limits and times that it is started with, and hands on
    process_limits.py   what the kernel lets its own process have

It is not on the way of a single byte: without it streams go on, and nothing new begins.
"""
