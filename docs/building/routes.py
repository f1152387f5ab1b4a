"""The routes of the service, as Markdown, from its OpenAPI description."""

from __future__ import annotations

import json
from typing import Any

from shmstream.http.openapi import describe

_CHAT = '/api/chat'
"""The path that stands for each of those in ``SHMSTREAM_CHAT``."""


def routes() -> str:
    """Return a section for each route."""
    description = describe((_CHAT,))
    out: list[str] = []
    for path, methods in description['paths'].items():
        out.append(f'## `{path}` {{ data-toc-label="{path}" }}')
        for method, operation in methods.items():
            out += _operation(method.upper(), path, operation)
    return '\n\n'.join(out)


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    out = [f'### `{method} {path}` {{ data-toc-label="{method}" }}']
    out.append(f'{operation["summary"].rstrip(".?")}.')
    if more := operation.get('description'):
        out.append(more)
    if parameters := operation.get('parameters'):
        rows = [_parameter(each) for each in parameters]
        out.append('\n'.join(['| parameter | in | |', '| --- | --- | --- |', *rows]))
    if body := operation.get('requestBody'):
        out += _body(body)
    rows = [
        f'| {status} | {answer["description"]}{_types(answer)} |'
        for status, answer in operation['responses'].items()
    ]
    out.append('\n'.join(['| status | |', '| --- | --- |', *rows]))
    return out


def _parameter(parameter: dict[str, Any]) -> str:
    said = parameter.get('description', '')
    schema = _schema(parameter['schema'])
    must = 'required' if parameter.get('required') else ''
    facts = '; '.join(filter(None, (said, schema, must)))
    return f'| `{parameter["name"]}` | {parameter["in"]} | {facts} |'


def _schema(schema: dict[str, Any]) -> str:
    """Return in words what a value may be."""
    if 'enum' in schema:
        return ' or '.join(f'`{value}`' for value in schema['enum'])
    kind = schema.get('type', 'any')
    words = kind if isinstance(kind, str) else ' or '.join(kind)
    if 'maxLength' in schema:
        words += f', at most {schema["maxLength"]} bytes'
    if 'pattern' in schema:
        words += f', `{schema["pattern"]}`'
    if 'minimum' in schema:
        words += f' from {schema["minimum"]}'
    return words


def _body(body: dict[str, Any]) -> list[str]:
    optional = '' if body.get('required') else ', which may be missing'
    out: list[str] = []
    for kind, content in body['content'].items():
        out.append(f'The body is `{kind}`{optional}:')
        out.append(f'```json\n{json.dumps(content["schema"], indent=2)}\n```')
    return out


def _types(answer: dict[str, Any]) -> str:
    kinds = [
        f'`{kind}`' for kind in answer.get('content', {}) if kind != 'application/json'
    ]
    return f' ({" or ".join(kinds)})' if kinds else ''
