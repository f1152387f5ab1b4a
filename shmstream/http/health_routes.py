"""The three routes of ``health``, as the OpenAPI description has them."""

from __future__ import annotations

from typing import Any

from shmstream.http import health

_COUNT = {'type': 'integer', 'minimum': 0}

_PID = {
    'type': 'object',
    'required': ['pid'],
    'properties': {'pid': {'type': 'integer', 'minimum': 1}},
}

_USED = {
    'type': 'object',
    'required': ['used', 'limit'],
    'properties': {'used': _COUNT, 'limit': _COUNT},
}

_SCHEMA = {
    'type': 'object',
    'required': ['status', 'worker'],
    'properties': {
        'status': {'enum': ['ok', 'leaving', 'no supervisor']},
        'worker': _PID,
        'supervisor': _PID,
        'workers': _COUNT,
        'sessions': _USED,
        'memory': _USED,
        'room': {
            'type': 'object',
            'properties': {'sessions': _COUNT, 'bytes': _COUNT},
        },
        'degraded': {'type': 'array', 'items': {'type': 'string'}},
    },
}

_MEDIA = {'application/json': {'schema': _SCHEMA}}
_YES = {'200': {'description': 'yes', 'content': _MEDIA}}
_NO = {'503': {'description': 'no', 'content': _MEDIA}}


def _route(question: str, answers: dict[str, Any]) -> dict[str, Any]:
    return {
        'get': {'summary': question, 'responses': answers},
        'head': {
            'summary': question,
            # An answer to HEAD has no body.
            'responses': {
                status: {'description': answer['description']}
                for status, answer in answers.items()
            },
        },
    }


HEALTH_ROUTES = {
    health.LIVE: _route('Does the event loop of this worker answer?', _YES),
    health.READY: _route('Should this worker get requests?', _YES | _NO),
    health.HEALTH: _route('As ready; and what is used, what degraded?', _YES | _NO),
}
"""The routes by their paths."""
