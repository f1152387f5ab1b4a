"""The same streams for a plain ``EventSource``, which can count no bytes.

A request asks for it by ``?as=events``, and at the service by the path ``/v1/events``.
Each event goes out in one piece and as it was written, with one line more: an id, which
the browser sends back by itself (``Last-Event-ID``) when it has lost its connection::

    the stream              what is sent
    ----------------------  ----------------------------------
                            retry: 1000                          once, at the beginning
    event: delta            event: delta
    id: 17                                                       an id of its own goes
    data: {"text": "Hi"}    data: {"text": "Hi"}
                            id: 00c0ffee00c0ffee-36              generation, and offset
                                                                 of the event's end
                            : ping                               in silence
                            event: end
                            data: {"state": "complete", ...}
                            id: 00c0ffee00c0ffee-36

The id comes after the data, so that no client takes it before it has the event. JSON
lines become the data of one event each.

An ``EventSource`` comes back after a cut and after a clean end, and gives up for good
on 204 and on any status but 200. So an answer that is worth coming back for is 200 and
then a cut, whatever status the other routes give it; and who has all of it gets 204.

::

    event_id.py    the ids: read and written
    framer.py      from the bytes of a stream to what is sent
    told.py        the events that the stream has not: end, lost, replaced
    get_events.py  from a request to its reply
"""
