"""The service: the serving core for streams, and a Falcon application for the rest.

::

    app.py             all of it put together
    service.py         streams by the serving core, everything else by Falcon
    api_keys.py        whose a request is; tokens for one stream
    gate.py            what is refused first: foreign pages, foreign host names
    host_names.py      the names that are served
    origins.py         which pages of other origins may use the service
    origin_patterns.py how origins are named, and which are
    prefix.py          the path that the service is found below
    middleware.py      keys and origins, for what Falcon answers
    lookup.py          POST /v1/streams/lookup
    producing.py       what is passed upstream, and the sessions made on the way
    generation.py      a POST's answer on its way from upstream into a ring
    sent_body.py       a POST's own response: a follower as a Falcon body
    uploads.py         request bodies that are held, and their bounds
    drain.py           how a worker's generations end when it leaves
    health.py          GET /healthz
    page.py            the page that shows it
    openapi.py         the description of it all
    request.py         what Falcon's own request does not know
    replies.py         the core's replies as Falcon's responses
    error_handlers.py  every error in the core's shape
"""
