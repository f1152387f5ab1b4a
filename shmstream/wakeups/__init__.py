"""Wake-ups: who sleeps, and how it learns of new bytes.

::

    producer                         process with followers
    --------                         ----------------------------------------------
    publish head                     ASLEEP  nap = n; fence; collect once more
    mark its boards                     |
    fence                               |
    nap new? ------ post ------>     doorbell thread wakes, collects, pokes the hub
    (one post per nap)                  |
                                     AWAKE   the hub collects marks every tick (1 ms);
                                             nap = 0, nobody pays for a semaphore
                                        |   a few ticks bring nothing
                                     ASLEEP  ...

Whatever goes wrong, every sleeper looks again every 200 ms (``NET_S``).

``bells`` marks boards and rings other workers, ``board`` is marked, ``doorbell`` is
rung, ``greenlets`` does without its thread where gevent runs, ``hub`` keeps who waits
for what, ``loop`` and ``threads`` drive the hub from an event loop and from the
doorbell thread, ``push`` delivers from the hub's own turn.
"""
