"""Looks at a deployment from outside: takes no slot, and writes no shared word.

The command line uses it. What is read here is read from the files of the runtime
directory, so it needs no supervisor, and a reader that is killed leaves nothing::

    sessions.py     what the sessions are, from copies of their headers
    reading.py      the bytes of one stream, from a mapping that cannot be written
    asking.py       what the supervisor alone knows or does, by single requests
    dead.py         what a dead deployment has left in its directory
    orphans.py      the semaphores whose directory is gone
"""
