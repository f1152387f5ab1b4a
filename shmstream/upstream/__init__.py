"""Where answers come from: an OpenAI-compatible server, or the demo model.

::

    source.py        the interface of both
    connections.py   the server: requests, answers and WebSockets
    address.py       its address, and references to it in its answers
    pool.py          its connections, used again or new
    proxies.py       the proxy that leads to it
    sockets.py       an open WebSocket
    watch.py         fails reads of answers that wait in vain
    causes.py        why there is no answer, in words
    exact_head.py    heads of requests, byte for byte
    hops.py          headers that concern one connection
    demo.py          the demo model
    demo_formats.py  the dialects that it answers in
"""
