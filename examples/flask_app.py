"""A Flask application of your own, with resumable answers.

``gunicorn -c examples/gunicorn.conf.py -k gthread --threads 8 examples.flask_app:app``,
or with ``-k gevent`` or ``-k sync``, without any other change.
"""

import time
from collections.abc import Iterator

from flask import Flask, Response, request

from shmstream.flask import Answers


def model(prompt: str) -> Iterator[str]:
    """Stand in for a model: slow, word by word."""
    for word in prompt.split():
        time.sleep(0.02)
        yield word


app = Flask(__name__)

# GET reads an answer from any offset, DELETE stops it, at the addresses of the POSTs.
answers = Answers('/chats')
app.register_blueprint(answers.blueprint)


@app.post('/chats/<chat>')
def ask(chat: str) -> Response:
    """Begin an answer, and stream it.

    It is written to its end, whoever leaves, and through a reload of the workers.
    """
    return answers.start(chat, model(request.get_data(as_text=True)))
