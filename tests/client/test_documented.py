"""What the page and the docstrings show is run as it stands there."""

from __future__ import annotations

import doctest
import importlib
import json
from typing import Any

import openai
import pytest

import shmstream.client
from shmstream.client import following_of
from tests.support.client import path
from tests.support.pages import block
from tests.support.service import Service

PAGE = 'docs/clients/python.md'


def shown(code: str, port: int) -> str:
    """The code, for this service."""
    return code.replace('127.0.0.1:8000', f'127.0.0.1:{port}').replace('[...]', '[]')


def test_the_page_follows_a_stream(
    demo: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    code = shown(block(PAGE, 'follow'), demo.port)
    code = code.replace("'m',", "'m', 'max_tokens': 20,")
    exec(code, names)
    *events, end, last = capsys.readouterr().out.splitlines()
    assert len([json.loads(event) for event in events]) >= 20
    assert end == '[DONE]'
    assert last.split() == [
        'complete',
        str(names['stream'].offset),
        names['stream'].generation,
        '0',
    ]


def test_the_page_makes_openai_resume(
    demo: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('OPENAI_API_KEY', 'any')
    names: dict[str, Any] = {}
    exec(shown(block(PAGE, 'openai'), demo.port), names)
    client: openai.OpenAI = names['client']
    with client.chat.completions.create(
        model='m', messages=[], stream=True, max_tokens=20
    ) as stream:
        assert following_of(stream).resumes == 0
        assert len(list(stream)) >= 20
    client.close()
    assert demo.client().get(path('chat-1')).status == 200


@pytest.mark.parametrize('name', ['events', 'limits'])
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(f'shmstream.client.{name}')
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_every_public_name_is_documented() -> None:
    for name in shmstream.client.__all__:
        assert getattr(shmstream.client, name).__doc__, name
