"""``shmstream.js`` in Node.js: what ``shmstream.client`` keeps, it keeps as well."""

from __future__ import annotations

import pytest

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
from tests.support.node import needs_node

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
