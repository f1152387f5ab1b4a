"""The dialects of streams: how events end, and how an end, a failure, a stop is told.

``table`` is the one place that says what each dialect does. The rest works by it, on
bytes alone::

    framing     from a content type to where an event ends
    events      the events in a block of bytes
    splitter    passes on whole events, and holds back an unfinished one
    recognise   which dialect an event speaks
    incoming    an answer on its way in: all of the above, chunk by chunk
    frames      the events that tell a failure or a stop
    last_words  what is said at the end of a stream, from what it holds

Nothing here knows of a file, a process, an event loop or a framework.
"""
