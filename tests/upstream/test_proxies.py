"""Which proxy leads to the upstream, by the variables that all clients read."""

from __future__ import annotations

import pytest

from shmstream.upstream.address import Address
from shmstream.upstream.proxies import BadProxy, proxy_for

PROXY = 'http://proxy:3128'


@pytest.mark.parametrize(
    ('upstream', 'environ', 'proxy'),
    [
        ('http://h', {'HTTP_PROXY': PROXY}, PROXY),
        ('http://h', {'http_proxy': PROXY, 'HTTP_PROXY': 'http://other'}, PROXY),
        ('http://h', {'HTTPS_PROXY': PROXY}, None),
        ('https://h', {'HTTPS_PROXY': PROXY}, PROXY),
        ('https://h', {'HTTP_PROXY': PROXY}, None),
        ('https://h', {'ALL_PROXY': PROXY}, PROXY),
        ('https://h', {'HTTPS_PROXY': 'proxy:3128'}, PROXY),
        ('https://h', {'HTTPS_PROXY': ' '}, None),
        ('https://h', {'HTTPS_PROXY': 'https://u:p@proxy'}, 'https://u:p@proxy'),
        ('https://h', {}, None),
        # What is on this machine.
        ('http://localhost:1', {'HTTP_PROXY': PROXY}, None),
        ('http://127.0.0.5', {'HTTP_PROXY': PROXY}, None),
        ('http://[::1]', {'HTTP_PROXY': PROXY}, None),
        ('unix:/x', {'HTTP_PROXY': PROXY}, None),
    ],
)
def test_the_environment_names_it(
    upstream: str, environ: dict[str, str], proxy: str | None
) -> None:
    assert proxy_for(Address.parse(upstream), environ) == proxy


@pytest.mark.parametrize(
    ('no_proxy', 'host', 'direct'),
    [
        ('*', 'h', True),
        ('h', 'h', True),
        ('H', 'h', True),
        ('other, h', 'h', True),
        ('example.org', 'api.example.org', True),
        ('.example.org', 'api.example.org', True),
        ('*.example.org', 'api.example.org', True),
        ('example.org', 'badexample.org', False),
        ('example.org:80', 'example.org', True),
        ('example.org:81', 'example.org', False),
        ('10.0.0.0/8', '10.1.2.3', True),
        ('10.0.0.0/8', '11.1.2.3', False),
        ('10.1.2.3', '10.1.2.3', True),
        ('fd00::/8', '[fd00::1]', True),
        ('', 'h', False),
        (',,', 'h', False),
        ('.', 'h', False),
    ],
)
def test_no_proxy_names_exceptions(no_proxy: str, host: str, direct: bool) -> None:
    environ = {'HTTP_PROXY': PROXY, 'NO_PROXY': no_proxy}
    found = proxy_for(Address.parse(f'http://{host}'), environ)
    assert (found is None) == direct


@pytest.mark.parametrize(
    'value', ['socks5://u:secret@p', 'http://', 'http://p:x', '//']
)
def test_what_is_no_proxy_is_refused(value: str) -> None:
    with pytest.raises(BadProxy, match='HTTP_PROXY') as caught:
        proxy_for(Address.parse('http://h'), {'HTTP_PROXY': value})
    assert 'secret' not in str(caught.value)
