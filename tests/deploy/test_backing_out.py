"""F30, the reverse: an upgrade in place that is given up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.deploy.test_leaving import RATE, assert_quiet, begin
from tests.support.client import Live, path
from tests.support.leaks import processes, wait_until
from tests.support.resume import ResumingReader
from tests.support.service import ROOT, Service
from tests.support.supervisor import gone


def test_f30_an_upgrade_that_is_backed_out_of_loses_nothing(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    """1. USR2: two masters. 2. Streams begin under either. 3. The new one goes again.

    Result: all streams come to their end, and the supervisor stays who it was.
    """
    pidfile = tmp_path / 'pid'
    service = serve(
        workers=2,
        settings=RATE,
        arguments=('--pid', str(pidfile), '--graceful-timeout', '6'),
    )
    client = service.client()
    (supervisor,) = service.supervisors()
    old = set(service.worker_pids())
    service.signal(signal.SIGUSR2)
    second = Path(f'{pidfile}.2')
    assert wait_until(second.exists, 20)
    successor = int(second.read_text())
    assert wait_until(lambda: service.text().count('ASGI server listening') == 4)
    posts: list[Live] = []
    # Whichever worker is the first to accept: some of either's, sooner or later.
    while len({post.worker in old for post in posts}) < 2 or len(posts) < 8:
        assert len(posts) < 60
        posts.append(begin(client, f'chat-{len(posts)}'))
    readers = [ResumingReader(client, f'chat-{n}') for n in range(len(posts))]
    for reader in readers:
        assert reader.some.wait(10)
    os.kill(successor, signal.SIGTERM)
    for number, (post, reader) in enumerate(zip(posts, readers, strict=True)):
        whole = post.rest()
        post.close()
        assert post.whole
        assert reader.result() == whole
        assert client.get(path(f'chat-{number}')).body == whole
        # A service that ends tells its streams so; the other's go on.
        ended = whole.endswith(b'data: [DONE]\n\n')
        assert ended or (post.worker not in old and b'"error"' in whole[-200:])
    assert wait_until(lambda: gone(successor), 20)
    assert service.supervisors() == [supervisor]
    assert set(service.worker_pids()) == old
    # All that is left of it are the supervisor and the old workers.
    assert wait_until(
        lambda: (
            set(processes(str(service.directory))) <= {supervisor, service.master, *old}
        )
    )
    with begin(client, 'after', tokens=20) as post:
        assert post.rest().endswith(b'[DONE]\n\n')
    assert_quiet(service)


def test_an_upgrade_to_another_format_is_refused_and_the_old_goes_on(
    serve: Callable[..., Service], tmp_path: Path
) -> None:
    """The new master ends with a clear line; nobody is served by half."""
    config = tmp_path / 'gunicorn.conf.py'
    text = (ROOT / 'gunicorn.conf.py').read_text()
    other = "if 'GUNICORN_PID' in os.environ:\n    hooks.FORMAT = [0, 0]\n\n"
    config.write_text(text.replace('hooks.install(', other + 'hooks.install('))
    service = serve(workers=2, settings=RATE, config=config)
    client = service.client()
    with begin(client, 'before', tokens=40) as post:
        service.signal(signal.SIGUSR2)
        assert wait_until(lambda: 'another version of shmstream' in service.text(), 20)
        assert post.rest().endswith(b'data: [DONE]\n\n')
    with begin(client, 'after', tokens=20) as post:
        assert post.rest().endswith(b'data: [DONE]\n\n')
    assert service.text().count('ASGI server listening') == 2
