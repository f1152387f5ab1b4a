"""The dialects of streams: how events end, and how a stream tells that it is over.

``table`` has a row for each dialect. The other modules read the table, and work on
bytes only::

    framing     tells from a content type how events end
    events      parses the events in a block of bytes
    splitter    passes on whole events, and holds back an unfinished one
    recognise   recognises the dialect from the headers or from an event
    incoming    takes an answer chunk by chunk, with the help of all modules above
    frames      makes the events that tell a failure or a stop
    ag_ui       makes those of AG-UI
    last_words  decides what is written at the end of a stream, from the stream's bytes

No module here knows of a file, a process, an event loop or a framework.
"""
