"""Temporary folders: gone with their process, and nobody else's while it lives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from crm_core.settings import ScratchFolder

HELD = """
import sys
from crm_core.settings import ScratchFolder

folder = ScratchFolder("trial")
(folder.path / "rows").write_text("of somebody")
print(folder.path, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TEMP", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_when_it_is_left(place: Path) -> None:
    with ScratchFolder("trial") as folder:
        (folder / "rows").write_text("of somebody", encoding="utf-8")
        assert [folder] == [*place.glob("crm-trial-*")]
    assert [] == [*place.iterdir()]


def test_the_folder_of_a_process_that_lives_stays_and_that_of_one_that_was_killed_goes(place: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HELD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        theirs = Path(process.stdout.readline().strip())
        with ScratchFolder("trial"):
            assert (theirs / "rows").exists()
        process.kill()
    assert theirs.exists()
    with ScratchFolder("other"):
        assert theirs.exists()
    with ScratchFolder("trial") as mine:
        assert [mine] == [*place.iterdir()]


def test_two_of_one_process_do_not_remove_each_other(place: Path) -> None:
    with ScratchFolder("trial") as first, ScratchFolder("trial") as second:
        assert {first, second} == {*place.iterdir()}


def test_without_a_lock_a_folder_goes_after_a_day_and_a_link_or_a_file_never(place: Path) -> None:
    young, old = place / "crm-trial-young", place / "crm-trial-old"
    young.mkdir()
    old.mkdir()
    (place / "crm-trial-file").touch()
    kept = place / "kept"
    kept.mkdir()
    before = time.time() - 2 * 86_400
    for each in (old, kept, place / "crm-trial-file"):
        os.utime(each, (before, before))
    (place / "crm-trial-link").symlink_to(kept, target_is_directory=True)
    with ScratchFolder("trial"):
        left = {each.name for each in place.iterdir()}
    assert {"crm-trial-young", "crm-trial-file", "crm-trial-link", "kept"} < left
    assert not old.exists()
