"""What the modules for frameworks have in common.

An application makes one ``Answers`` per group of conversations. It begins an answer by
``Answers.start``, and the framework's router gets the routes by which clients read,
stop and look up the answers. Those modules (``shmstream.fastapi``, ``.starlette``,
``.flask``, ``.django``, ``.falcon``) import their framework, and are thin::

    beginning.py  an answer that is about to begin, and the reply that it is sent with
    routed.py     what a framework's router has found, as a request for a stream
    asgi.py       for frameworks under ASGI
    wsgi.py       for frameworks under WSGI

    django_request.py   a request of Django as one for a stream
    django_response.py  a response of Django that follows a stream
    falcon_request.py   what a request of Falcon has for these routes
    falcon_response.py  a reply as a response of Falcon
"""
