"""Wake-ups: how those who follow a stream learn of new bytes, in whatever process.

The one picture here is the bell. Each process has a doorbell, by which others wake it
up while it naps: a POSIX semaphore, on which one thread of the process waits, or a
pipe, on which an event loop waits by itself. Its board is a piece of shared memory,
where others mark which streams have changed. Each arrow has a verb of its own::

    producer                              process with followers
    --------                              ------------------------------------------
    publish head                          ASLEEP  nap = n; fence; collect once more
    MARK the boards of who follows           |
    fence                                    |
    a new nap? ---- RING by semaphore -->    |    the doorbell's thread wakes up
                    or by pipe       -->  AWAKE   the board COLLECTS the marks
    (one ring per nap)                       |    the hub LOOKS at what is marked
                                             |    the waiters WAKE, or take the bytes
                                             |    again every tick (1 ms); nap = 0, so
                                             |    that nobody pays for a ring
                                             |    a few ticks bring nothing
                                          ASLEEP  ...

Whatever goes wrong, every sleeper looks again every 200 ms (``NET_S``).

    producer_side      marks, and rings who naps
    ring_others        rings another process: by its semaphore or its pipe
    semaphore          the semaphore: its name, posting it, waiting for a post
    pipe               the pipe: where it is, and a loop that waits on it
    doorbell_thread    the thread that waits on the semaphore
    doorbell_greenlet  the same where gevent has made greenlets of threads
    shared_board       the board and the nap, in shared memory; collects
    hub_watch          one segment as one hub sees it: its waiters and takers
    hub_pace           when a hub is awake, and what it looks at; no I/O, no clock
    hub_on_loop        the hub of an event loop
    hub_per_loop       all of those that a process has, and which has the pipe
    hub_in_threads     the hub of all threads
    hub_delivery       bytes that a loop's hub hands on without waking a task
"""
