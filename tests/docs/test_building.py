"""The pages are put together: links, what is inserted, and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.building import inserts, links, routes, settings
from docs.building.__main__ import put_together
from docs.building.assets import foreign_assets
from docs.building.docstrings import as_markdown
from docs.building.files import ROOT
from shmstream.http.openapi import describe
from shmstream.setting_parsers import PARSERS
from shmstream.version import __version__
from tests.support.pages import PAGES, named


@pytest.fixture(scope='module')
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages of the site, as its generator gets them."""
    folder = tmp_path_factory.mktemp('site') / 'pages'
    put_together(folder)
    return folder


def test_no_link_is_dead_and_nothing_is_left_to_insert(site: Path) -> None:
    pages = list(site.rglob('*.md'))
    assert len(pages) > 60
    for page in pages:
        text = page.read_text()
        if 'source' in page.relative_to(site).parts:
            continue
        assert '<!-- insert' not in text, page
        for target in links.targets_of(text):
            path = links.file_of(target, page)
            assert path is None or path.exists(), (page, target)


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """``--strict`` says so as well, where the generator is installed."""
    nav = (ROOT / 'mkdocs.yml').read_text()
    for page in site.rglob('*.md'):
        name = page.relative_to(site).as_posix()
        if not name.startswith('source/') and name != 'readme.md':
            assert re.search(rf'[ ]{re.escape(name)}$', nav, re.MULTILINE), name


def test_the_changelog_has_an_entry_for_this_version() -> None:
    changes = (ROOT / 'CHANGELOG.md').read_text()
    assert re.search(rf'^## {re.escape(__version__)} \(', changes, re.MULTILINE)


def test_addresses_elsewhere_are_addresses() -> None:
    for page in PAGES:
        for target in links.targets_of(page.read_text()):
            if ':' in target.partition('#')[0]:
                assert re.fullmatch(r'https?://[\w.-]+(:\d+)?(/\S*)?', target), (
                    named(page),
                    target,
                )


def test_a_dead_link_is_told() -> None:
    page = ROOT / 'docs' / 'start.md'
    with pytest.raises(links.DeadLink, match=r'docs/start\.md links to none\.md'):
        links.moved('[a](none.md)', page, 'start.md', lambda _: '')


def test_links_lead_from_where_the_page_is() -> None:
    page = ROOT / 'docs' / 'clients' / 'rules.md'
    moved = links.moved(
        '[a](../access.md#keys) [b](#rules)\n\n```js\n[c](none.md)\n```\n'
        '[d]: ../../CHANGELOG.md "title"',
        page,
        'clients/rules.md',
        lambda path: {'access.md': 'access.md'}.get(path.name, 'project/changelog.md'),
    )
    assert moved == (
        '[a](../access.md#keys) [b](#rules)\n\n```js\n[c](none.md)\n```\n'
        '[d]: ../project/changelog.md "title"\n'
    )


def test_every_setting_is_described_once() -> None:
    text = inserts.inserted((ROOT / 'docs' / 'settings.md').read_text())
    headings = re.findall(r'^### (.*) \{', text, re.MULTILINE)
    found = re.findall(r'`SHMSTREAM_(\w+)`', ' '.join(headings))
    assert sorted(found) == sorted(PARSERS)


def test_what_is_said_of_a_setting_is_the_code_s() -> None:
    said = settings.described()['SESSION_BYTES']
    assert said.default == '`4MiB`'
    assert said.limits == '4KiB to 1GiB'
    assert said.text == "Size of a session's ring; older bytes are dropped."
    assert settings.described()['HOSTS'].default == 'every name'


def test_a_setting_without_a_text_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARSERS, 'UPSTREAM_PROXY', str)
    with pytest.raises(LookupError, match='SHMSTREAM_UPSTREAM_PROXY has no text'):
        settings.described()


def test_every_route_is_there() -> None:
    text = routes.routes()
    for path, methods in describe(('/api/chat',))['paths'].items():
        for method in methods:
            assert f'### `{method.upper()} {path}`' in text


def test_drawings_are_code() -> None:
    drawn = as_markdown('A head::\n\n    a -> b\n\n      c\n\nAnd::\n\n    x = 1\n')
    assert drawn == (
        'A head:\n\n```text\na -> b\n\n  c\n```\n\nAnd:\n\n```python\nx = 1\n```'
    )


@pytest.mark.parametrize(
    'text', ['<!-- insert docstring shmstream.none -->', '<!-- insert none a -->']
)
def test_what_cannot_be_inserted_is_told(text: str) -> None:
    with pytest.raises(LookupError):
        inserts.inserted(text)


def test_what_is_loaded_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / 'a.html').write_text(
        '<link rel="canonical" href="https://a.example"><a href="https://b.example">b'
        '</a><script src="//c.example/c.js"></script><img src="d.png">'
    )
    (tmp_path / 'a.css').write_text('@import url(https://e.example/e.css);')
    assert foreign_assets(tmp_path) == [
        'a.css: https://e.example/e.css',
        'a.html: //c.example/c.js',
    ]
