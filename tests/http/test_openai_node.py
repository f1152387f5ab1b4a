"""OpenAI's own client for Node: Responses by their ids."""

from __future__ import annotations

from tests.support.node import Script, needs_node
from tests.support.service import Service


@needs_node
def test_a_response_is_fetched_by_its_id(demo: Service) -> None:
    base = f'http://127.0.0.1:{demo.port}/v1'
    with Script('responses.js', base, 'node') as script:
        told = script.hear()
        stopped = script.hear()
    count = len(told['numbers'])
    assert told['numbers'] == list(range(count))
    assert count > 60
    assert told['statuses'] == ['completed', 'completed']
    assert 'not a language model' in told['text']
    assert told['filtered'] == list(range(61, count))
    assert told['refused'][0] == 400
    assert 'not a plain number' in told['refused'][1]
    assert told['unknown'][0] == 404
    assert 'demo model' in told['unknown'][1]
    assert stopped == {
        'live': 'in_progress',
        'cancelled': 'cancelled',
        'then': 'cancelled',
        'last': 'response.incomplete',
    }
