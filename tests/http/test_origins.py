"""F90: pages of other origins: which are named, and what they are granted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmstream.errors import SettingsError
from shmstream.origin_patterns import OriginPatterns
from shmstream.settings import Settings
from tests.support.service import Service

OPENAI = (
    'authorization,content-type,x-stainless-arch,x-stainless-helper-method,'
    'x-stainless-lang,x-stainless-os,x-stainless-package-version,'
    'x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,'
    'x-stainless-timeout'
)
"""What openai's client asks for in a browser."""


@pytest.mark.parametrize(
    ('named', 'origin', 'is_named'),
    [
        ('https://chat.example.org', 'https://chat.example.org', True),
        ('https://chat.example.org', 'https://chat.example.org.evil.test', False),
        ('https://chat.example.org', 'http://chat.example.org', False),
        ('https://chat.example.org', 'https://chat.example.org:8443', False),
        ('https://chat.example.org', 'null', False),
        ('*', 'https://anything.test', True),
        ('*', 'null', True),
        ('null', 'null', True),
        ('null', 'https://anything.test', False),
        ('http://localhost:*', 'http://localhost:3000', True),
        ('http://localhost:*', 'http://localhost', True),
        ('http://localhost:*', 'https://localhost:3000', False),
        ('http://localhost:*', 'http://localhost.evil.test:3000', False),
        ('http://localhost:*', 'http://localhost:3000@evil.test', False),
        ('http://localhost:*', 'http://localhost:3000/', False),
        ('http://[::1]:*', 'http://[::1]:5173', True),
        ('https://*.example.org', 'https://a.example.org', True),
        ('https://*.example.org', 'https://a.b.example.org', True),
        ('https://*.example.org', 'https://example.org', False),
        ('https://*.example.org', 'https://evilexample.org', False),
        ('https://*.example.org', 'https://evil.test/.example.org', False),
        ('https://*.example.org', 'https://a.example.org:8443', False),
        ('https://*.example.org:*', 'https://a.example.org:8443', True),
        ('https://*.example.org', 'https://a.exampleXorg', False),
        ('https://*', 'https://whatever.test', True),
        ('https://*', 'https://[2001:db8::1]', True),
        ('https://*', 'http://whatever.test', False),
        ('app://obsidian.md', 'app://obsidian.md', True),
        ('capacitor://localhost', 'capacitor://localhost', True),
        ('moz-extension://*', 'moz-extension://5b1e-44', True),
        ('vscode-webview://*', 'vscode-webview://0abc', True),
        ('file://', 'file://', True),
        # Electron and others write whatever their scheme's host is.
        ('app://', 'app://', True),
        ('app://.', 'app://.', True),
        ('app://-', 'app://-', True),
        ('app://-', 'app://x', False),
        ('app://.', 'app://x', False),
        ('app://a..b', 'app://a..b', True),
        ('app://*', 'app://', True),
        ('app://*', 'app://-', True),
        ('app://*', 'other://-', False),
        ('app://*', 'app://x/y', False),
        ('http://[fe80::1]', 'http://[fe80::1]', True),
    ],
)
def test_f90_an_origin_is_named_or_not(named: str, origin: str, is_named: bool) -> None:
    settings = Settings.from_environment(
        {'SHMSTREAM_CORS_ORIGINS': f'https://other.test, {named}'}
    )
    patterns = OriginPatterns(settings.cors_origins)
    assert patterns.names(origin.encode()) is is_named


@pytest.mark.parametrize(
    ('named', 'why'),
    [
        ('https://example.org/', 'no path'),
        ('https://example.org/path', 'no path'),
        ('example.org', 'origins like'),
        ('https://', 'origins like'),
        ('https://Example.org', 'lower case'),
        ('https://example.org:443', 'leave it out'),
        ('http://example.org:80', 'leave it out'),
        ('https://example.org:99999', 'not a port'),
        ('https://example.org:', 'not a port'),
        ('https://example.org:080', 'not a port'),
        ('https://user@example.org', 'origins like'),
        ('https://example.org?x', 'origins like'),
        ('https://b\xfccher.example', 'ASCII'),
        ('https://*example.org', 'may stand for'),
        ('https://a.*.org', 'may stand for'),
        ('*://example.org', 'origins like'),
        ('http://127.1', 'IPv4'),
        ('http://*.0.0.1', 'IPv4'),
        ('http://0x7f000001', 'IPv4'),
        ('http://[0:0:0:0:0:0:0:1]', 'IPv6'),
        ('http://[::1', 'origins like'),
        ('ws://example.org', 'no page'),
        ('file:///home', 'no path'),
        ('file://home', 'null'),
        ('NULL', 'lower case'),
        ('https://a..b', 'origins like'),
        ('https://.', 'origins like'),
        ('https://-', 'origins like'),
        ('http://[fe80::1%25eth0]', 'IPv6'),
        ('http://[fe80::1%eth0]', 'IPv6'),
        ('app://a b', 'origins like'),
        ('app://*x', 'may stand for'),
        ('app://b\xfccher', 'ASCII'),
        ('app://x/', 'no path'),
    ],
)
def test_f90_what_no_browser_sends_is_refused_at_start(named: str, why: str) -> None:
    with pytest.raises(SettingsError, match=r'^SHMSTREAM_CORS_ORIGINS: ') as caught:
        Settings.from_environment({'SHMSTREAM_CORS_ORIGINS': named})
    assert why in str(caught.value)
    assert '\n' not in str(caught.value)


PAGE = 'http://localhost:5173'


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp('origins') / 'service.log'
    settings = {
        'CORS_ORIGINS': 'http://localhost:*, app://obsidian.md, null',
        'DEMO_RATE': '1000',
    }
    with Service(log, workers=2, settings=settings) as service:
        yield service


@pytest.mark.parametrize('origin', [PAGE, 'app://obsidian.md', 'null'])
@pytest.mark.parametrize(
    ('method', 'asked'),
    [
        ('POST', OPENAI),
        ('POST', 'anthropic-version,content-type,x-api-key'),
        ('PUT', 'traceparent,tracestate'),
        ('PATCH', 'x-anything-at-all'),
        ('DELETE', 'authorization'),
        ('GET', 'last-event-id'),
    ],
)
@pytest.mark.parametrize('target', ['/v1/chat/completions', '/v1/stream/a'])
def test_f90_a_preflight_of_a_named_origin_is_granted_what_it_asks_for(
    service: Service, origin: str, method: str, asked: str, target: str
) -> None:
    headers = {
        'Origin': origin,
        'Access-Control-Request-Method': method,
        'Access-Control-Request-Headers': asked,
        'Sec-Fetch-Site': 'cross-site',
        'Sec-Fetch-Mode': 'cors',
    }
    reply = service.client().call('OPTIONS', target, headers=headers)
    assert reply.status == 204
    assert reply.headers['access-control-allow-origin'] == origin
    assert reply.headers['access-control-allow-methods'] == method
    assert reply.headers['access-control-allow-headers'] == asked


def test_f90_a_preflight_of_any_other_origin_is_granted_nothing(
    service: Service,
) -> None:
    headers = {
        'Origin': 'https://evil.example',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'authorization',
    }
    for site in ({}, {'Sec-Fetch-Site': 'cross-site'}):
        reply = service.client().call('OPTIONS', '/v1/x', headers=headers | site)
        assert not any(n.startswith('access-control') for n in reply.headers)


def test_f90_a_page_may_read_whatever_says_where_a_stream_is(service: Service) -> None:
    client = service.client()
    with client.post('seen', {'max_tokens': 3}, Origin=PAGE) as live:
        live.rest()
    assert live.headers['access-control-allow-origin'] == PAGE
    exposed = live.headers['access-control-expose-headers'].lower().split(', ')
    ours = {n for n in live.headers if n.startswith('stream-')}
    assert ours | {'location', 'content-location', 'retry-after'} <= set(exposed)
    assert 'x-vercel-ai-ui-message-stream' in exposed


def test_f90_a_list_of_origins_may_end_in_a_comma(tmp_path: Path) -> None:
    settings = Settings.from_environment({'SHMSTREAM_CORS_ORIGINS': 'null, ,'})
    assert settings.cors_origins == ('null',)
