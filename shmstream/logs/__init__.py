"""What is logged of a deployment, and in which form.

Modules::

    cause.py          why a stream has ended
    form.py           the settings: text or JSON, and how conversation ids are shown
    life_line.py      the one line about each stream, at its end
    json_lines.py     a record of ``logging`` as one JSON object
    repeats.py        a fault that repeats is told a few times, then counted
    shown_path.py     the path of a request, which forges nothing and shows no id
    stderr.py         the log of a process of its own: the supervisor
    trace_context.py  by which ids a request can be found in other logs
"""
