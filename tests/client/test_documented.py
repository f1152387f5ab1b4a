"""What the README and the docstrings show is run as it stands there."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from typing import Any

import openai
import pytest

import shmstream.client
from shmstream.client import following_of
from tests.support.client import path
from tests.support.service import ROOT, Service

SECTION = (ROOT / 'README.md').read_text().partition('## Read streams from Python')[2]
SHOWN = re.findall(r'```python\n(.*?)```', SECTION.partition('\n## ')[0], re.DOTALL)


def shown(code: str, port: int) -> str:
    """The code, for this service."""
    return code.replace('127.0.0.1:8000', f'127.0.0.1:{port}').replace('[...]', '[]')


def test_the_readme_follows_a_stream(
    demo: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    code = shown(SHOWN[0], demo.port).replace("'m',", "'m', 'max_tokens': 20,")
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


def test_the_readme_makes_openai_resume(demo: Service) -> None:
    names: dict[str, Any] = {
        'resumable': shmstream.client.resumable,
        'OpenAI': lambda **options: openai.OpenAI(api_key='any', **options),
    }
    exec(shown(SHOWN[1], demo.port), names)
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
