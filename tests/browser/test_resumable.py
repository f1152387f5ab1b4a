"""``shmstream.js`` in Node.js: what ``shmstream.client`` keeps, it keeps as well."""

from __future__ import annotations

import json

import pytest

from shmstream import OffsetLost, State
from tests.browser.in_node import InNode
from tests.client.reading import InThread
from tests.client.test_following import (
    test_503_is_asked_again,
    test_a_compressed_body_that_ends_too_early_is_no_end,
    test_a_failure_is_the_last_event_and_the_state,
    test_a_failure_that_cannot_be_told_is_an_exception,
    test_a_late_stop_does_not_stop_a_newer_answer,
    test_a_post_that_has_not_arrived_is_sent_again,
    test_a_post_that_is_lost_before_its_answer_is_not_sent_again,
    test_a_stop_ends_the_stream_for_everybody,
    test_a_stop_is_tried_again,
    test_a_stream_that_is_replaced_during_a_loss_is_not_mixed_with_the_new_one,
    test_a_stream_that_is_replaced_while_it_is_read_ends,
    test_an_answer_is_whole_over_any_cuts,
    test_an_answer_that_has_not_begun_is_waited_for,
    test_an_answer_that_is_no_stream_is_read_but_not_resumed,
    test_an_answer_that_is_not_what_was_asked_for_is_not_taken,
    test_an_id_may_have_any_characters,
    test_an_overrun_ring_is_an_error_that_says_so,
    test_events_of_megabytes_come_in_one_piece,
    test_it_resumes_at_whole_events_wherever_it_is_cut,
    test_json_lines_are_events_too,
    test_the_offset_is_that_of_what_was_handed_out,
    test_what_is_not_there_is_an_error,
)
from tests.client.turns import Turn, Turns, answer, cut, refuse
from tests.http.proxied import Proxied
from tests.support.node import needs_node
from tests.support.raw_upstream import Link

__all__ = [
    'test_503_is_asked_again',
    'test_a_compressed_body_that_ends_too_early_is_no_end',
    'test_a_failure_is_the_last_event_and_the_state',
    'test_a_failure_that_cannot_be_told_is_an_exception',
    'test_a_late_stop_does_not_stop_a_newer_answer',
    'test_a_post_that_has_not_arrived_is_sent_again',
    'test_a_post_that_is_lost_before_its_answer_is_not_sent_again',
    'test_a_stop_ends_the_stream_for_everybody',
    'test_a_stop_is_tried_again',
    'test_a_stream_that_is_replaced_during_a_loss_is_not_mixed_with_the_new_one',
    'test_a_stream_that_is_replaced_while_it_is_read_ends',
    'test_an_answer_is_whole_over_any_cuts',
    'test_an_answer_that_has_not_begun_is_waited_for',
    'test_an_answer_that_is_no_stream_is_read_but_not_resumed',
    'test_an_answer_that_is_not_what_was_asked_for_is_not_taken',
    'test_an_id_may_have_any_characters',
    'test_an_overrun_ring_is_an_error_that_says_so',
    'test_events_of_megabytes_come_in_one_piece',
    'test_it_resumes_at_whole_events_wherever_it_is_cut',
    'test_json_lines_are_events_too',
    'test_the_offset_is_that_of_what_was_handed_out',
    'test_what_is_not_there_is_an_error',
]

pytestmark = needs_node


@pytest.fixture
def kind() -> type[InThread]:
    """The module, for the tests of the Python clients."""
    return InNode


def told(state: str, offset: int, body: bytes, *lines: str) -> Turn:
    """An answer that ends cleanly, as some proxies end one that was cut."""
    head = [
        'HTTP/1.1 200 OK',
        'Content-Type: text/event-stream',
        f'Stream-State: {state}',
        f'Stream-Offset: {offset}',
        'Stream-Generation: ours',
        *lines,
    ]
    return answer('\r\n'.join([*head, '', '']).encode() + body)


def test_an_offset_that_is_lost_is_no_end() -> None:
    """1. A proxy ends the answer cleanly. 2. The ring has dropped what follows."""
    error = {'code': 400, 'dropped_prefix': 100, 'total_bytes': 200}
    lost = refuse(400, body=json.dumps({'error': error}).encode())
    with (
        Turns(0, told('live', 0, b'data: 1\n\n'), lost) as relay,
        InNode(f'http://127.0.0.1:{relay.port}/v1/stream/x') as reader,
    ):
        events = reader.events()
        assert next(events).data == '1'
        with pytest.raises(OffsetLost) as caught:
            next(events)
        assert caught.value.dropped_prefix == 100


def test_an_end_within_an_event_is_asked_for_once_more() -> None:
    """Without a length nobody can tell it from a cut, but two cuts are not the same."""
    turns = told('complete', 0, b'data: 1\n\ndata: 2'), told('complete', 9, b'data: 2')
    with (
        Turns(0, *turns) as relay,
        InNode(f'http://127.0.0.1:{relay.port}/v1/stream/x') as reader,
    ):
        assert [event.data for event in reader.events()] == ['1', '2']
        assert len(relay.requests) == 2
        assert reader.following.state is State.COMPLETE


@pytest.mark.parametrize('character', ['\u2028', '\u2029', '\x85', ': ', '\ufeff'])
def test_characters_that_other_formats_take_for_line_ends(
    proxied: Proxied, character: str
) -> None:
    text = f'a{character}b'
    event = f'data: {json.dumps({"t": text}, ensure_ascii=False)}\n\n'
    with proxied.stream('characters', event.encode()) as post:
        post.rest()
    url = f'http://127.0.0.1:{proxied.service.port}/v1/stream/characters'
    with InNode(url) as reader:
        assert [event['t'] for event in reader.each('json')] == [text]


def test_text_is_text_wherever_it_is_cut() -> None:
    text = 'Hello wörld \n'.encode()
    head = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n'
    head += b'Stream-State: complete\r\nStream-Offset: 0\r\n\r\n'

    def in_two(relay: Turns, link: Link, request: bytes) -> None:
        link.send(head % len(text) + text[: text.index(b'\xb6')])
        link.send(text[text.index(b'\xb6') :])

    with (
        Turns(0, in_two) as relay,
        InNode(f'http://127.0.0.1:{relay.port}/v1/stream/x') as reader,
    ):
        assert ''.join(event.data for event in reader.events()).encode() == text


def test_who_stops_before_the_post_is_taken_generates_nothing(
    proxied: Proxied,
) -> None:
    """1. No room. 2. The user stops it. 3. It is not sent again."""
    with (
        Turns(proxied.service.port, refuse(503, b'Retry-After: 1'), cut(None)) as relay,
        InNode(
            f'http://127.0.0.1:{relay.port}/v1/chat/completions',
            json={'stream': True},
            stopWhen='waiting',
        ) as reader,
    ):
        assert list(reader.events()) == []
        assert reader.following.state is State.CANCELLED
        methods = [line.partition(' ')[0] for line in relay.asked]
        assert methods == ['POST', 'DELETE']
