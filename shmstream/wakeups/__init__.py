"""Wake-ups: who sleeps on which stream, and how it learns of new bytes.

::

    producer                         worker with followers
    --------                         ----------------------------------------------
    publish head                     IDLE   armed[k] = n; fence; look once more
    fence                               |
    armed[k] new?  --- post --->     doorbell thread wakes, pokes the hub
    (one post per arming)               |
                                     BUSY   the hub looks every tick (1 ms); nothing
                                            is armed, nobody pays for a semaphore
                                        |   a few ticks bring nothing
                                     IDLE   ...

Whatever goes wrong, every sleeper looks again every 200 ms (``NET_S``).

``bells`` rings other workers, ``doorbell`` is rung, ``hub`` keeps who waits for what,
``loop`` and ``threads`` drive the hub from an event loop and from the doorbell thread.
"""
