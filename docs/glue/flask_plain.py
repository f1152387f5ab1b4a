"""A Flask chat whose answers are lost with their connection."""

from flask import Flask, Response, request

from docs.glue.model import events_in_thread

app = Flask(__name__)


@app.post('/chat/<chat>')
def ask(chat: str) -> Response:
    """Answer."""
    text = request.get_json()['text']
    return Response(events_in_thread(text), mimetype='text/event-stream')
