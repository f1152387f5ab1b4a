"""Where answers come from: an OpenAI-compatible server, or the demo model.

::

    source.py        the interface of both
    connections.py   the server: requests, answers and WebSockets
    address.py       the server's address, and references to this address in answers
    pool.py          the connections to the server, used again or new
    proxies.py       the proxy that leads to the server
    sockets.py       an open WebSocket
    timed_body.py    sends a body without using up the answer's time
    watch.py         fails reads of answers that wait in vain
    causes.py        says in words why there is no answer
    exact_head.py    sends the heads of requests byte for byte
    hops.py          headers that concern one connection
    demo.py          the demo model
    demo_formats.py  the dialects that it answers in; demo_responses.py is one of them
    demo_events.py   what these dialects share
"""
