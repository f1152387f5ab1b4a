"""Settings that decide who gets in: what is refused, and what is warned about."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmstream.errors import SettingsError
from shmstream.settings import Settings
from tests.support.leaks import wait_until
from tests.support.service import Service


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('API_KEYS', ','),
        ('API_KEYS', 'with space'),
        ('API_KEYS', 'ümlaut'),
        ('API_KEYS_FILE', '/nowhere/at/all'),
        ('CORS_ORIGINS', '*://example.org'),
        ('CORS_ORIGINS', 'https://example.org/path'),
        ('CORS_ORIGINS', 'example.org'),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f'^SHMSTREAM_{name}: '):
        Settings.from_environment({f'SHMSTREAM_{name}': value})


def test_an_empty_keys_file_does_not_mean_no_keys(tmp_path: Path) -> None:
    file = tmp_path / 'keys'
    file.write_text('# none yet\n')
    with pytest.raises(SettingsError, match='holds no key'):
        Settings.from_environment({'SHMSTREAM_API_KEYS_FILE': str(file)})


def test_keys_are_not_shown_with_the_settings() -> None:
    settings = Settings.from_environment(
        {'SHMSTREAM_API_KEYS': 'hush', 'SHMSTREAM_UPSTREAM_API_KEY': 'secret'}
    )
    assert settings.api_keys == ('hush',)
    assert 'hush' not in repr(settings)
    assert 'secret' not in repr(settings)


@pytest.mark.parametrize('keys', [True, False])
def test_listening_to_the_world_without_keys_is_warned_about(
    tmp_path: Path, keys: bool
) -> None:
    service = Service(
        tmp_path / 'log',
        workers=2,
        settings={'API_KEYS': 'k'} if keys else {},
        bind='0.0.0.0:0',
    )
    with service:
        warned = 'without SHMSTREAM_API_KEYS'
        if keys:
            assert warned not in service.text()
        else:
            assert wait_until(lambda: warned in service.text())
