from tests.support.client import path
from tests.support.service import Service


def test_a_stream_is_replayed_whole_from_any_worker(demo: Service) -> None:
    client = demo.client()
    with client.post('c', {'max_tokens': 20}) as post:
        whole = post.rest()
    assert post.whole
    assert whole.endswith(b'data: [DONE]\n\n')
    assert client.get(path('c', 100)).body == whole[100:]
