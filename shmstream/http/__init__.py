"""The service: the serving core for streams, and a Falcon application for the rest.

::

    app.py                makes the application out of all the other modules
    service.py            gives streams to the serving core, and the rest to Falcon
    api_keys.py           the owner of a request, by its API key; tokens for one stream
    gate.py               refuses pages of other sites, and foreign host names
    origins.py            which pages of other origins may use the service
    prefix.py             the path below which clients find the service
    middleware.py         keys and origins, for the requests that Falcon answers
    lookup_route.py       POST /v1/streams/lookup
    producing.py          passes requests upstream; some of the answers become streams
    responses_route.py    OpenAI's Responses by their ids
    conversation.py       which conversation a POST has; whether it asks for a stream
    announcing.py         reads a POST's body, which may ask for a session
    passing_through.py    the bodies of requests and answers that have no session
    forwarded.py          the headers that tell the upstream who asks, and where
    websockets.py         relays WebSockets
    ask_upstream.py       asks the upstream; which answers become streams
    answer_task.py        the task that puts an upstream's answer into a stream
    answer_writer.py      writes the answer's events into the ring, at the readers' pace
    chat_stop.py          stops the stream of a chat of the AI SDK
    listeners.py          ends a stream that nobody listens to, if its POST says so
    streamed_response.py  a POST's own response: a follower as a Falcon body
    uploads.py            request bodies that are held in memory, and their bounds
    drain.py              what a worker lets go of when it leaves, and what it waits for
    spans.py              spans of OpenTelemetry, in a worker that uses it
    health.py             GET /healthz, live and ready
    page.py               the demonstration page, and what it is made of
    demo_routes.py        the page restarts and kills workers of the demo model
    openapi.py            the OpenAPI description of the service
    falcon_request.py     what Falcon's own request does not provide
    replies.py            turns the core's replies into Falcon's responses
    error_handlers.py     answers every error in the core's form
"""
