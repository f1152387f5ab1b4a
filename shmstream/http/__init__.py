"""The service: a Falcon ASGI application over the library.

::

    request.py     what a request asks for: id, offset, generation, headers
    reading.py     GET and HEAD of a stream, DELETE
    body.py        a follower as a response body
    lookup.py      POST /v1/streams/lookup
    generation.py  a POST's answer on its way from upstream into a ring
    access.py      whose request it is, and what it may do
    drain.py       how a worker's generations end when it leaves
    producing.py   everything else: passed upstream, sessions made on the way
    health.py      GET /healthz
    page.py        the page that shows it
    openapi.py     the description of it all
    errors.py      how errors look
    app.py         all of it put together
"""
