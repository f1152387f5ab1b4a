"""Running under gunicorn.

::

    hooks.py             gunicorn's hooks: what happens at a start, a reload and an end
    worker_life.py       whether this process has been told to stop, and by whom
    gunicorn_insides.py  everything that is used of gunicorn and is no interface of it
    parser.py            which HTTP parser serves
    logger.py            gunicorn's log
"""
