"""What a request asks for."""

from __future__ import annotations

import pytest

from shmstream.serving.problems import Problem
from shmstream.serving.request import Request, parameter, path_below


def refused(call: object) -> str:
    """The message of the 400 that a call raises."""
    assert callable(call)
    with pytest.raises(Problem) as raised:
        call()
    assert raised.value.status == 400
    return raised.value.message


@pytest.mark.parametrize(
    ('path', 'query', 'conv_id'),
    [
        (b'c', b'', 'c'),
        (b'a%2Fb', b'', 'a/b'),
        (b'a/b', b'conv_id=other', 'a/b'),
        (b'%C3%A4%20+', b'', 'ä +'),
        (b'%2541', b'', '%41'),
        (b'..', b'', '..'),
        (b'', b'conv_id=a%2Fb', 'a/b'),
        (b'', b'x=1&conv_id=a+b&y=c', 'a b'),
        (b'a', b'conv_id=b&conv_id=c', 'a'),
        (b'', b'conv%5Fid=c', 'c'),
    ],
)
def test_the_id_is_the_rest_of_the_path_or_a_parameter(
    path: bytes, query: bytes, conv_id: str
) -> None:
    assert Request('GET', path, query).conversation_id() == conv_id


@pytest.mark.parametrize('query', [b'', b'conv_id=', b'from=1', b'conv_id'])
def test_without_an_id_there_is_nothing_to_do(query: bytes) -> None:
    request = Request('GET', b'', query)
    assert refused(request.conversation_id) == 'Missing conversation id in path'


@pytest.mark.parametrize(
    'query',
    [b'conv_id=a&conv_id=b', b'conv_id=a&x&conv%5Fid=a', b'conv_id&conv_id=b'],
    ids=['two', 'the same, encoded', 'empty'],
)
def test_two_ids_in_the_query_are_refused(query: bytes) -> None:
    """Frameworks take the last: a ``permit`` would have looked at another id."""
    request = Request('GET', b'', query)
    assert refused(request.conversation_id) == "'conv_id' must come once in the query"


def test_two_ids_that_are_not_utf_8_are_not_made_one() -> None:
    for path, query in [(b'%ff', b''), (b'', b'conv_id=%ff')]:
        assert 'UTF-8' in refused(Request('GET', path, query).conversation_id)


@pytest.mark.parametrize(
    ('query', 'offset'),
    [
        (b'', 0),
        (b'from=0', 0),
        (b'from=007', 7),
        (b'x&from=5&from=6', 5),
        (b'from=%35', 5),
        (b'from=9223372036854775807', (1 << 63) - 1),
    ],
)
def test_an_offset(query: bytes, offset: int) -> None:
    assert Request('GET', b'c', query).start() == offset


@pytest.mark.parametrize(
    'raw', ['', '-1', '+1', '1_0', '1.0', '%D9%A1', '%201', str(1 << 63), '9' * 3000]
)
def test_what_is_no_offset_is_refused(raw: str) -> None:
    request = Request('GET', b'c', f'from={raw}'.encode())
    assert refused(request.start) == "Invalid 'from' offset"


def test_an_offset_counts_before_the_last_event() -> None:
    last = [(b'last-event-id', b'7')]
    assert Request('GET', b'c', b'', last).start() == b'7'
    assert Request('GET', b'c', b'from=5', last).start() == 5
    assert Request('GET', b'c', b'', [(b'last-event-id', b'')]).start() == 0


def test_a_generation() -> None:
    assert Request('GET', b'c').asked_generation() is None
    request = Request('GET', b'c', b'generation=0123456789abcdef')
    assert request.asked_generation() == '0123456789abcdef'
    for raw in (b'', b'0123456789ABCDEF', b'0123456789abcde', b'0123456789abcdef0'):
        assert 'generation' in refused(
            Request('GET', b'c', b'generation=' + raw).asked_generation
        )


def test_parameters_and_headers_are_the_first_of_their_name() -> None:
    assert parameter(b'a=1&b=2&a=3', b'a') == b'1'
    assert parameter(b'a=1', b'b') is None
    request = Request('GET', b'c', headers=[(b'a', b'1'), (b'a', b'2')])
    assert request.header(b'a') == b'1'
    assert request.header(b'b') is None
    assert request.parameter(b'a') is None


@pytest.mark.parametrize(
    ('path', 'mount', 'below'),
    [
        (b'/v1/stream/a/b', b'/v1/stream', b'a/b'),
        (b'/v1/stream/', b'/v1/stream', b''),
        (b'/v1/stream', b'/v1/stream', b''),
        (b'/v1/%73tream/a%2Fb/c', b'/v1/stream', b'a%2Fb/c'),
        (b'/%761/stream', b'/v1/stream', b''),
        (b'/v1/stream%2Fa%2Fb/c', b'/v1/stream', b'a%2Fb/c'),
        (b'/v1/stream%2f', b'/v1/stream', b''),
        (b'/v1%2Fstream%2F%2Fc', b'/v1/stream', b'%2Fc'),
        (b'/v1/strea%6D/\n%0A%', b'/v1/stream', b'\n%0A%'),
        (b'/a', b'', b'a'),
        (b'/', b'', b''),
    ],
)
def test_the_path_below_a_mount(path: bytes, mount: bytes, below: bytes) -> None:
    assert path_below(path, mount) == below


def test_a_log_shows_no_token() -> None:
    assert str(Request('GET', b'a%0Ab', b'token=x')) == 'GET a%0Ab'
    assert str(Request('GET', b'', b'token=x')) == 'GET /'
