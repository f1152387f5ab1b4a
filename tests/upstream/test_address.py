"""Where the upstream is, and what of its answers leads there."""

from __future__ import annotations

import pytest

from shmstream.upstream.address import Address

PLAIN = 'http://host:8080'


@pytest.mark.parametrize(
    ('setting', 'target', 'url'),
    [
        (PLAIN, '/v1/models', 'http://host:8080/v1/models'),
        (PLAIN, '/v1/models?', 'http://host:8080/v1/models?'),
        (PLAIN + '/', '/', 'http://host:8080/'),
        (PLAIN + '/v1', '/v1/models', 'http://host:8080/v1/models'),
        (PLAIN + '/v1/', '/models?a=%2F', 'http://host:8080/models?a=%2F'),
        (PLAIN + '/base/v1', '/v1/x', 'http://host:8080/base/v1/x'),
        (PLAIN + '/base/', '/v1/x', 'http://host:8080/base/v1/x'),
        (PLAIN + '/v1beta', '/v1/x', 'http://host:8080/v1beta/v1/x'),
        (PLAIN + '/?k=1', '/x', 'http://host:8080/x?k=1'),
        (PLAIN + '?k=1&l=2', '/x?', 'http://host:8080/x?k=1&l=2'),
        (PLAIN + '/v1?k=1', '/x?a=1', 'http://host:8080/x?a=1&k=1'),
        (PLAIN + '?k=1', '/x?k=2&a=1&%6B=3', 'http://host:8080/x?a=1&k=1'),
        ('https://[::1]:1/v1', '/x', 'https://[::1]:1/x'),
        ('unix:/run/x.sock', '/v1/x?a', 'http://localhost/v1/x?a'),
        ('unix:/run/x.sock?k=1', '/v1/x', 'http://localhost/v1/x?k=1'),
    ],
)
def test_targets_become_urls(setting: str, target: str, url: str) -> None:
    assert Address.parse(setting).url(target) == url


@pytest.mark.parametrize(
    'setting',
    [
        'unix:relative',
        'unix:',
        'unix:/' + 'x' * 108,
        'unix:/a?b c',
        'http://h/#x',
        'http://h#',
        'http://u@h',
        'http://h/a b',
        'http://h/\xe9',
        'http://h:0x1',
        'ws://h',
        'h:80',
    ],
)
def test_what_is_no_address_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r'.'):
        Address.parse(setting)


def test_a_query_that_may_be_secret_is_not_shown() -> None:
    for setting in ('http://h/b?key=secret', 'unix:/x?key=secret'):
        address = Address.parse(setting)
        assert 'secret' not in repr(address) + address.shown
    with pytest.raises(ValueError, match='must be') as caught:
        Address.parse('htp://h?key=secret')
    assert 'secret' not in str(caught.value)


@pytest.mark.parametrize(
    ('setting', 'reference', 'ours'),
    [
        (PLAIN, 'http://host:8080/slow?a=1#b', '/slow?a=1#b'),
        (PLAIN, 'HTTP://HOST:8080/slow', '/slow'),
        (PLAIN, '//host:8080/slow', '/slow'),
        (PLAIN, 'http://host:8080', '/'),
        (PLAIN, 'http://host:8080?a', '/?a'),
        (PLAIN, '/slow', '/slow'),
        (PLAIN, 'slow', 'slow'),
        (PLAIN, '?a', '?a'),
        (PLAIN, '', ''),
        # Of somebody else.
        (PLAIN, 'http://host/slow', 'http://host/slow'),
        (PLAIN, 'https://host:8080/slow', 'https://host:8080/slow'),
        (PLAIN, 'http://host:8080.evil/x', 'http://host:8080.evil/x'),
        (PLAIN, 'http://other/?to=http://host:8080/', None),
        (PLAIN, 'mailto:x@host', None),
        (PLAIN, 'http://[bad', None),
        # Nothing of ours may look like another host.
        (PLAIN, 'http://host:8080//evil/x', '/.//evil/x'),
        ('http://http', 'http://http/x', '/x'),
        ('http://host', 'http://host:80/x', '/x'),
        ('https://host:443', 'https://host/x', '/x'),
        (PLAIN + '/base', 'http://host:8080/base/x', '/x'),
        (PLAIN + '/base', '/base', '/'),
        (PLAIN + '/base', '/basement', '/basement'),
        (PLAIN + '/base', 'http://host:8080/base//evil', '/.//evil'),
        (PLAIN + '/v1', 'http://host:8080/v1/x', '/v1/x'),
        (PLAIN + '?key=s', 'http://host:8080/x?key=s&a=1', '/x?a=1'),
        (PLAIN + '?key=s', '/x?key=s#f', '/x#f'),
        ('unix:/x', 'http://localhost/x', '/x'),
    ],
)
def test_references_lead_to_us(setting: str, reference: str, ours: str | None) -> None:
    expected = reference if ours is None else ours
    assert Address.parse(setting).ours(reference) == expected


@pytest.mark.parametrize(
    ('reference', 'ours'),
    [
        ('http://host:8080/x', '/pre/x'),
        ('/x', '/pre/x'),
        # A server that heeds X-Forwarded-Prefix has it already.
        ('/pre/x', '/pre/x'),
        ('/prefix', '/pre/prefix'),
        ('x', 'x'),
        ('http://host:8080//x', '/pre//x'),
    ],
)
def test_references_lead_to_us_below_a_prefix(reference: str, ours: str) -> None:
    assert Address.parse(PLAIN).ours(reference, '/pre') == ours


@pytest.mark.parametrize(
    ('value', 'ours'),
    [
        ('5; url=http://host:8080/x', '5; url=/x'),
        ('0;URL="http://host:8080/x"', '0;URL="/x"'),
        ('5', '5'),
        ('5; url=http://other/x', '5; url=http://other/x'),
        ('', ''),
    ],
)
def test_what_is_refreshed_leads_to_us(value: str, ours: str) -> None:
    assert Address.parse(PLAIN).ours_in_refresh(value) == ours
