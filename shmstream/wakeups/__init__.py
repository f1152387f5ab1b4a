"""Wake-ups: how the followers of a stream learn of new bytes, in every process.

The one metaphor here is the doorbell. Each process has one, and other processes ring it
to wake the process while it naps. The doorbell is a POSIX semaphore, on which one
thread of the process waits, or a pipe, on which an event loop waits without a thread.
The board of a process is a piece of shared memory, where producers mark which streams
have changed. Each arrow has a verb of its own::

    producer                              process with followers
    --------                              ------------------------------------------
    publish head                          ASLEEP  nap = n; fence; collect once more
    MARK the boards of the followers         |
    fence                                    |
    a new nap? ---- RING by semaphore -->    |    the doorbell's thread wakes up
                    or by pipe       -->  AWAKE   the board COLLECTS the marks
    (one ring per nap)                       |    the hub LOOKS at the marked watches
                                             |    the waiters WAKE, takers take bytes
                                             |    again every tick (1 ms); nap = 0, so
                                             |    no producer pays for a ring
                                             |    a few ticks bring nothing
                                          ASLEEP  ...

Whatever goes wrong, every sleeper looks again every 200 ms (``NET_S``).

    producer_side      marks the boards, and rings the processes that nap
    ring_others        rings another process: by its semaphore or its pipe
    semaphore          the semaphore: its name, posting it, waiting for a post
    pipe               the pipe: its path, and a loop that waits on it
    doorbell_thread    the thread that waits on the semaphore
    doorbell_greenlet  the same where gevent has replaced threads by greenlets
    shared_board       the board and the nap word, in shared memory; collects
    hub_watch          one segment as one hub sees it: its waiters and takers
    hub_pace           when a hub is awake, and what it looks at; no I/O, no clock
    hub_on_loop        the hub of an event loop
    hub_per_loop       the hubs of all event loops, and which one the pipe rings
    hub_in_threads     the hub of all threads
    hub_delivery       bytes that a loop's hub hands on without waking a task
"""
