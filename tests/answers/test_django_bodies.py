"""Bodies that Django has lost, in a process that has its settings."""

from __future__ import annotations

import json
import subprocess
import sys

from shmstream import Streams
from tests.support.service import ROOT

APP = """
import io, json, sys
import django
from django.conf import settings
from django.test import RequestFactory

settings.configure()
django.setup()

from shmstream import Streams
from shmstream.django import Answers

told = []
with Streams.attach(sys.argv[1]) as streams:
    answers = Answers(streams=streams)
    for body, more in json.loads(sys.argv[2]):
        given = {'wsgi.input': io.BytesIO(body.encode()), 'CONTENT_LENGTH': ''} | more
        asked = RequestFactory().generic('POST', '/a/stop', **given)
        told.append(answers.stop(asked, 'a').status_code)
print(json.dumps(told))
"""


def statuses(streams: Streams, *requests: tuple[str, dict[str, str]]) -> list[int]:
    """The statuses of POSTs with these bodies, and this in their environ."""
    directory = str(streams._process.directory.path)
    done = subprocess.run(
        [sys.executable, '-c', APP, directory, json.dumps(requests)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    found: list[int] = json.loads(done.stdout)
    return found


def test_a_stop_whose_body_is_lost_stops_nothing(
    streams: Streams,
) -> None:
    with streams.create('a') as producer:
        lost = [
            ('', {'CONTENT_LENGTH': '9'}),
            ('{}', {'CONTENT_LENGTH': '9'}),
            ('{}', {'HTTP_TRANSFER_ENCODING': 'chunked'}),
        ]
        assert statuses(streams, *lost) == [400, 400, 411]
        assert producer.write(b'data: 1\n\n')
        assert statuses(streams, ('{}', {'CONTENT_LENGTH': '2'})) == [200]
        assert not producer.write(b'data: 2\n\n')
