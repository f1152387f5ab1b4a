"""F53: what was found is checked to be what was asked for (I4)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shmstream.errors import StreamNotFound
from shmstream.ids import digest
from shmstream.memory.mappings import Mappings
from shmstream.memory.segment import Segment
from tests.memory.segments import OWNER, create

OTHER = 'other'


def make(folder: Path, conv_id: str) -> Path:
    path = folder / digest(OWNER, conv_id)
    segment, fd = create(path, conv_id=conv_id)
    os.close(fd)
    del segment
    return path


class Meanwhile:
    """Between the look at a name and what it leads to, the file gives way to another.

    The other's has the same number, and is mapped: as on a file system that uses
    numbers again, ext4 for one. Whether this one does now is luck, so the look is told
    the other's number.
    """

    def __init__(
        self, folder: Path, mappings: Mappings, patch: pytest.MonkeyPatch
    ) -> None:
        self._folder = folder
        self._mappings = mappings
        self._lstat = os.lstat
        self._again: str | None = None
        self.looks = 0
        self.mapped: list[Segment] = []
        patch.setattr(os, 'lstat', self._look)

    def swap(self, again: str | None = None) -> None:
        """At the next look; ``again``: there is a file of the name once more."""
        self._again = again
        self.looks = 0

    def _look(self, path: Any) -> os.stat_result:
        found = self._lstat(path)
        self.looks += 1
        if self.looks == 1:
            os.unlink(path)
            other = make(self._folder, OTHER)
            found = self._lstat(other)
            self.mapped.append(self._mappings.attach(other.name))
            if self._again is not None:
                make(self._folder, self._again)
        return found


def test_f53_another_session_s_file_of_the_same_number_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mappings = Mappings(tmp_path, lambda: 0)
    wanted = make(tmp_path, 'wanted')
    Meanwhile(tmp_path, mappings, monkeypatch).swap()
    with pytest.raises(StreamNotFound):
        mappings.attach(wanted.name)


def test_f53_what_has_come_in_its_place_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mappings = Mappings(tmp_path, lambda: 0)
    wanted = make(tmp_path, 'wanted')
    Meanwhile(tmp_path, mappings, monkeypatch).swap('wanted')
    assert mappings.attach(wanted.name).conv_id == 'wanted'


def test_f53_a_file_under_another_s_name_is_not_found(tmp_path: Path) -> None:
    """Nor is it looked for without end."""
    mappings = Mappings(tmp_path, lambda: 0)
    path = make(tmp_path, 'wanted')
    name = digest(OWNER, OTHER)
    path.rename(tmp_path / name)
    with pytest.raises(StreamNotFound):
        mappings.attach(name)
