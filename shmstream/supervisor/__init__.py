"""The supervisor: a process of its own that owns the set of sessions.

``registry`` makes, replaces, evicts and collects them; ``workers`` gives out slots and
doorbells; ``masters`` watches the processes it works for; ``server`` is the loop that
serves the control socket; ``spawn`` is how others start it. It is not on the way of a
single byte: without it streams go on, only nothing new begins.
"""
