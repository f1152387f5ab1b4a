"""The service: the serving core for streams, and a Falcon application for the rest.

::

    app.py             all of it put together
    service.py         streams by the serving core, everything else by Falcon
    api_keys.py        whose a request is; tokens for one stream
    origins.py         which pages of other origins may use the service
    middleware.py      keys and origins, for what Falcon answers
    lookup.py          POST /v1/streams/lookup
    producing.py       what is passed upstream, and the sessions made on the way
    conversation.py    which conversation a POST belongs to, and what it asks for
    body_fields.py     finds that in a body that is still coming
    announcing.py      reads a POST's body; its session is announced on the way
    generation.py      a POST's answer on its way from upstream into a ring
    own_client.py      a POST's own client, which its source waits for
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
