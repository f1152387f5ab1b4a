"""The supervisor: a process of its own that owns the set of sessions.

::

    spawn.py            how other processes start it
    isolated.py         runs a module where no other module can shadow its imports
    __main__.py         the process
    server.py           the loop: control socket, timers
    periodic_chores.py  what is done again and again, and how often
    timers.py           runs what is due
    lock_and_socket.py  the lock, and the control socket
    life.py             a life of the deployment: begun, or taken over
    connection.py       the control connection of one worker
    operations.py       the requests that workers make
    registry.py         all sessions: found, cancelled, evicted, collected
    creation.py         how a session is made, and replaces another
    session.py          one session
    index.py            all sessions, by everything that finds one
    session_ids.py      finds sessions by the beginning of their ids
    holdings.py         the sessions and the memory of each owner
    shares.py           how owners share the limits
    eviction.py         removes ended sessions to make room
    segment_words.py    the words that cancel and evict a session
    adoption.py         sessions that a predecessor has left
    deaths.py           which live sessions to check for a dead producer
    finishing.py        ends sessions whose producer has died
    predecessors.py     ended sessions that are kept until a pending session begins
    gone.py             segments without a session that are still mapped
    leftovers.py        removes what a deployment leaves
    workers.py          slots and doorbells
    master_watch.py     the processes that the supervisor works for
    config.py           limits and times
    saved_config.py     keeps them in a file, for a successor
    process_limits.py   what the kernel allows the supervisor's process

No byte of a stream passes through the supervisor: without one, streams go on, but no
new stream can begin.
"""
