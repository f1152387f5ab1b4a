"""nchan, the pub/sub module of nginx in C: its workers share buffers in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bench.peers.base import Session
from bench.peers.nginx import Nginx, module, program

_MODULE = 'ngx_nchan_module.so'


class Nchan(Nginx):
    """Channels of 20,000 messages (4 MB of events), read as HTTP chunks."""

    name = 'nchan'
    server = (
        'location ~ ^/pub/(.+)$ { nchan_publisher; nchan_channel_id $1; '
        'nchan_message_buffer_length 20000; nchan_message_timeout 10m; } '
        'location ~ ^/sub/(.+)$ { nchan_subscriber http-chunked; '
        'nchan_channel_id $1; nchan_subscriber_first_message oldest; } '
    )

    def missing(self) -> str | None:
        if program() and module(_MODULE):
            return None
        return 'no nginx with nchan (see bench/peers/setup.sh)'

    def globals(self) -> str:
        return 'nchan_shared_memory_size 1g;\n'

    def start(self) -> None:
        self.load_module = f'load_module {module(_MODULE)};'
        super().start()

    def streams(self, prefix: str, count: int) -> AbstractContextManager[Session]:
        path = f'/sub/{prefix}-%s'
        return self.written_by(
            'nchan', str(self.port), prefix, count, path, 'TE: chunked'
        )
