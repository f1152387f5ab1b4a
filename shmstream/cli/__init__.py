"""``shmstream`` on the command line: for whoever runs a deployment.

``main`` finds the commands; each is a module of its own, imported when it is run. What
they share::

    outcome.py       exit codes, and the line that says why
    options.py       the options that name a place, and what is made of them
    place.py         what the commands ask of a place
    on_directory.py  a runtime directory as a place: reads files, joins nothing
    on_url.py        a service behind a URL as a place
    selecting.py     which streams are meant, and in which order
    words.py         texts that are safe on a terminal; sizes and spans for people
    output.py        tables, JSON, colours, progress
    top_frame.py     what ``top`` knows at one moment
    top_view.py      draws it as lines
    screen.py        draws lines on a terminal, and reads its keys
"""
