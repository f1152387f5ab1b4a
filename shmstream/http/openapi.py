"""``/_shmstream/openapi.json``: the service's own routes, for tools and fuzzers.

The upstream has to describe its own routes. Only one of the upstream's routes is
described here: the POST that begins a stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import falcon.asgi

from shmstream.http.health_routes import HEALTH_ROUTES
from shmstream.http.sessions_route import MAX_PAGE
from shmstream.ids import MAX_ID_BYTES
from shmstream.serving.problems import JSON
from shmstream.version import __version__

_STRING = {'type': 'string'}
_COUNT = {'type': 'integer', 'minimum': 0}

_ERROR = {
    'type': 'object',
    'required': ['error'],
    'properties': {
        'error': {
            'type': 'object',
            'required': ['code', 'message', 'type'],
            'properties': {
                'code': {'type': 'integer'},
                'message': _STRING,
                'type': _STRING,
                'dropped_prefix': _COUNT,
                'total_bytes': _COUNT,
                'generation': _STRING,
            },
        }
    },
}

_SESSION: dict[str, Any] = {
    'type': 'object',
    'required': [
        'conversation_id',
        'is_done',
        'total_bytes',
        'started_at',
        'completed_at',
        'dropped_prefix',
        'state',
        'generation',
    ],
    'properties': {
        'conversation_id': _STRING,
        'is_done': {'type': 'boolean'},
        'total_bytes': _COUNT,
        'started_at': _COUNT,
        'completed_at': _COUNT,
        'dropped_prefix': _COUNT,
        'state': {'enum': ['pending', 'live', 'complete', 'cancelled', 'aborted']},
        'generation': {'type': 'string', 'pattern': '^[0-9a-f]{16}$'},
    },
}

_LISTED = {
    'type': 'object',
    'required': [*_SESSION['required'], 'followers', 'memory', 'capacity', 'worker'],
    'properties': _SESSION['properties']
    | {
        'capacity': _COUNT,
        'memory': _COUNT,
        'followers': _COUNT,
        'worker': {'type': ['integer', 'null']},
        **dict.fromkeys(('content_type', 'dialect', 'alias', 'failure'), _STRING),
    },
}

_ERRORS = {
    400: 'bad input, or an offset that the ring has dropped',
    401: 'no valid API key (where keys are set)',
    403: 'a page of another site, of an origin that is not named',
    404: 'not found or expired',
    406: 'a stream that is not made of events',
    408: 'the body comes too slowly',
    409: 'the id has a newer stream',
    413: 'too large',
    414: 'the request line is too long',
    416: 'the range begins at the end of the stream, or beyond it',
    421: 'a host name that is not served',
    502: 'the upstream cannot be reached, or has failed and cannot say so in-band',
    503: 'not possible now: retry after Retry-After seconds',
    504: 'the upstream did not answer in time',
}


def _answer(description: str, **media: Any) -> dict[str, Any]:
    if not media:
        return {'description': description}
    content = {kind: {'schema': schema} for kind, schema in media.items()}
    return {'description': description, 'content': content}


def _answers(good: dict[str, Any], *errors: int) -> dict[str, Any]:
    bad = {
        str(status): _answer(_ERRORS[status], **{'application/json': _ERROR})
        for status in errors
    }
    return good | bad


def _query(
    name: str, schema: dict[str, Any], said: str = '', required: bool = False
) -> dict[str, Any]:
    found = {'name': name, 'in': 'query', 'required': required, 'schema': schema}
    return found | ({'description': said} if said else {})


_ID = {'type': 'string', 'minLength': 1, 'maxLength': MAX_ID_BYTES}
_IN_PATH = {'name': 'conv_id', 'in': 'path', 'required': True, 'schema': _ID}
_FROM = _query(
    'from',
    {'type': 'integer', 'minimum': 0, 'maximum': (1 << 63) - 1},
    'the offset of the first byte; 0 by default',
)
_GENERATION = _query(
    'generation',
    {'type': 'string', 'pattern': '^[0-9a-f]{16}$'},
    'the stream that is meant; a newer one of this id is left alone',
)
_LAST_EVENT = {
    'name': 'Last-Event-ID',
    'in': 'header',
    'required': False,
    'description': 'without from: go on after the event that has this id',
    'schema': _STRING,
}
_RANGE = {
    'name': 'Range',
    'in': 'header',
    'required': False,
    'description': 'bytes=N-, without from: the rest of a finished stream',
    'schema': _STRING,
}
_LAST_ID = _query(
    'last_event_id',
    {'type': 'string', 'maxLength': 40},
    'go on after the event with this id; Last-Event-ID wins over it',
)
_EVENTS = _answer('the events after the last one', **{'text/event-stream': _STRING})
_PART = _answer('the bytes of the range', **{'text/event-stream': _STRING})
_BYTES = _answer('the bytes from the offset on', **{'text/event-stream': _STRING})


_METRICS = _answer(
    "Prometheus' text, OpenMetrics, or JSON",
    **{
        'text/plain': _STRING,
        'application/openmetrics-text': _STRING,
        'application/json': {'type': 'object'},
    },
)


def _stream(where: dict[str, Any]) -> dict[str, Any]:
    parameters = [where, _FROM, _GENERATION, _LAST_EVENT, _RANGE]
    responses = _answers(
        {'200': _BYTES, '206': _PART},
        *(400, 401, 403, 404, 409, 414, 416, 421, 502, 503),
    )
    return {
        'get': {
            'summary': 'Read from an offset, then live',
            'parameters': parameters,
            'responses': responses,
        },
        'head': {
            'summary': 'Look without reading',
            'parameters': parameters,
            'responses': {
                status: _answer(answer['description'])
                for status, answer in responses.items()
            },
        },
        'delete': {
            'summary': 'Stop the stream, wherever its producer runs',
            'parameters': [where, _GENERATION],
            'responses': _answers(
                {'204': _answer('done')}, 400, 401, 403, 414, 421, 503
            ),
        },
    }


def _events(where: dict[str, Any]) -> dict[str, Any]:
    parameters = [where, _GENERATION, _LAST_EVENT, _LAST_ID]
    responses = _answers(
        {'200': _EVENTS, '204': _answer('the client has all of it')},
        *(400, 401, 403, 404, 406, 409, 414, 421),
    )
    return {
        'get': {
            'summary': 'The same for an EventSource, which resumes by itself',
            'parameters': parameters,
            'responses': responses,
        }
    }


def _listing() -> dict[str, Any]:
    page = {
        'type': 'object',
        'required': ['sessions', 'next'],
        'properties': {
            'sessions': {'type': 'array', 'items': _LISTED},
            'next': {'type': ['string', 'null']},
        },
    }
    limit = {'type': 'integer', 'minimum': 1, 'maximum': MAX_PAGE}
    found = _answer('a page of streams', **{'application/json': page})
    return {
        'get': {
            'summary': 'The streams of this key, in the order of their ids',
            'parameters': [
                _query('after', _STRING),
                _query('limit', limit),
                _query('conv_id', _ID),
            ],
            'responses': _answers({'200': found}, 400, 401, 403, 414, 421, 503),
        }
    }


_RESPONSE_ID = {'name': 'response_id', 'in': 'path', 'required': True}
_RESPONSE = {'application/json': {'type': 'object'}}


def _response() -> dict[str, Any]:
    where = _RESPONSE_ID | {'schema': {'type': 'string', 'minLength': 1}}
    asked = [
        where,
        _query('stream', {'type': 'boolean'}, 'the events, not one object'),
        _query(
            'starting_after',
            {'type': 'integer', 'minimum': 0},
            'the sequence number of the last event that the client has',
        ),
    ]
    found = _answer('the response', **_RESPONSE, **{'text/event-stream': _STRING})
    errors = (400, 401, 403, 404, 414, 421, 502, 503, 504)
    return {
        '/v1/responses/{response_id}': {
            'get': {
                'summary': 'An OpenAI response, or its events after a number',
                'parameters': asked,
                'responses': _answers({'200': found}, *errors),
            }
        },
        '/v1/responses/{response_id}/cancel': {
            'post': {
                'summary': 'Stop an OpenAI response',
                'parameters': [where],
                'responses': _answers(
                    {'200': _answer('the response', **_RESPONSE)}, *errors
                ),
            }
        },
    }


def _chat_routes(path: str) -> dict[str, Any]:
    """Describe the routes of ``useChat`` below a path of ``SHMSTREAM_CHAT``."""
    again = _query('finished', {'enum': ['replay']}, 'a stream that is over, too')
    stop = {
        'type': 'object',
        'properties': {
            'activeStreamId': {'type': ['string', 'null'], 'pattern': '^[0-9a-f]{16}$'},
            'assistantMessage': {},
        },
    }
    done = {'type': 'object', 'properties': {'success': {'const': True}}}
    return {
        f'{path}/{{conv_id}}/stream': {
            'get': {
                'summary': 'The whole stream, then live, for useChat',
                'parameters': [_IN_PATH, again],
                'responses': _answers(
                    {'200': _BYTES, '204': _answer('there is nothing to resume')},
                    *(400, 401, 403, 414, 421, 502),
                ),
            }
        },
        f'{path}/{{conv_id}}/stop': {
            'post': {
                'summary': 'Stop the stream, and keep it',
                'parameters': [_IN_PATH],
                'requestBody': _body(stop, required=False),
                'responses': _answers(
                    {'200': _answer('done', **{'application/json': done})},
                    *(400, 401, 403, 408, 413, 414, 421, 503),
                ),
            }
        },
    }


def _body(schema: dict[str, Any], required: bool = True) -> dict[str, Any]:
    return {'required': required, 'content': {'application/json': {'schema': schema}}}


def describe(chat_paths: Iterable[str] = ()) -> dict[str, Any]:
    """Return the description, in the form of OpenAPI 3.1.

    Args:
        chat_paths: the paths of ``useChat``.
    """
    chat_routes: dict[str, Any] = {}
    for path in chat_paths:
        chat_routes |= _chat_routes(path)
    sessions = {'type': 'array', 'items': _SESSION}
    found = _answer('the streams', **{'application/json': sessions})
    ids = {'type': 'array', 'items': _STRING, 'maxItems': 10_000}
    lookup = {
        'type': 'object',
        'required': ['conversation_ids'],
        'properties': {'conversation_ids': ids},
    }
    chat = {
        'type': 'object',
        'required': ['messages'],
        'properties': {
            'messages': {'type': 'array', 'items': {'type': 'object'}},
            'stream': {'type': 'boolean'},
        },
    }
    conversation = {
        'name': 'X-Conversation-Id',
        'in': 'header',
        'required': False,
        'schema': {'type': 'string', 'maxLength': MAX_ID_BYTES},
    }
    answer = _answer(
        'the answer, streamed or not',
        **{'text/event-stream': _STRING, 'application/json': {'type': 'object'}},
    )
    return {
        'openapi': '3.1.0',
        'info': {'title': 'shmstream', 'version': __version__},
        'paths': {
            '/v1/stream/{conv_id}': _stream(_IN_PATH),
            '/v1/stream': _stream(_query('conv_id', _ID, required=True)),
            '/v1/events/{conv_id}': _events(_IN_PATH),
            '/v1/events': _events(_query('conv_id', _ID, required=True)),
            '/v1/streams/lookup': {
                'post': {
                    'summary': 'Which of these conversations have a stream',
                    'requestBody': _body(lookup),
                    'responses': _answers(
                        {'200': found}, 400, 401, 403, 408, 413, 421, 503
                    ),
                }
            },
            '/v1/chat/completions': {
                'post': {
                    'summary': 'Begin an answer, which can be resumed if it has an id',
                    'parameters': [conversation],
                    'requestBody': _body(chat),
                    'responses': _answers(
                        {'200': answer},
                        *(400, 401, 403, 408, 413, 421, 502, 503, 504),
                    ),
                }
            },
            **_response(),
            '/_shmstream/sessions': _listing(),
            '/_shmstream/metrics': {
                'get': {
                    'summary': 'The metrics of the whole deployment, by Accept',
                    'responses': _answers({'200': _METRICS}, 401, 403, 421, 503),
                }
            },
            **HEALTH_ROUTES,
            **chat_routes,
        },
    }


class OpenApiResource:
    """Serves the description.

    Args:
        chat_paths: the paths of ``useChat``.
    """

    def __init__(self, chat_paths: Iterable[str]) -> None:
        self._json = json.dumps(describe(chat_paths)).encode()

    async def on_get(self, _: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Answer with the description, as JSON."""
        resp.content_type = JSON
        resp.data = self._json
