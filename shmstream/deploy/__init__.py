"""Running under gunicorn.

::

    hooks.py             gunicorn's hooks: what happens at a start, a reload and an end
    worker_life.py       whether this process has been told to stop, and by whom
    gunicorn_insides.py  uses of gunicorn that are not part of its interface
    gunicorn_workers.py  which of gunicorn's workers this process is
    other_workers.py     the other workers of the same master; restarts and kills them
    gunicorn_ends.py     the same, for how a worker and the master end
    direct_writer.py     the largest of these uses
    control_socket.py    where gunicorn's control socket is
    draining.py          has workers wait for their productions before they end
    lifespan.py          the same for ASGI servers other than gunicorn
    idle_connections.py  closes idle connections when a worker leaves
    parser.py            which HTTP parser serves
    logger.py            gunicorn's log
    service_needs.py     which versions the service needs, beyond those of the library
"""
