"""What tells a failure, byte for byte as clients are promised it."""

from __future__ import annotations


def failure(message: str, sequence_number: int = 0) -> bytes:
    """The server-sent event."""
    return (
        'event: error\ndata: {"type":"error","name":"UpstreamError",'
        f'"message":"{message}","errorText":"{message}",'
        f'"sequence_number":{sequence_number},"error":{{"type":"server_error",'
        f'"code":"502","message":"{message}","param":null}}}}\n\n'
    ).encode()


def failure_of_run(message: str, run: str = '') -> bytes:
    """The event of AG-UI; ``run`` is its ids."""
    told = f'"message":"{message}","code":"502","name":"UpstreamError"'
    return f'data: {{"type":"RUN_ERROR",{run}{told}}}\n\n'.encode()


def failure_line(message: str) -> bytes:
    """The JSON line."""
    return f'{{"error": "{message}"}}\n'.encode()
