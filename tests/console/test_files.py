from __future__ import annotations

import os
from pathlib import Path

import pytest

from crm_core.console import write_whole
from crm_core.settings import files as module


def test_a_text_is_written_whole_and_the_rights_of_the_file_stay(tmp_path: Path) -> None:
    file = tmp_path / "گزارش.html"
    write_whole(file, "old")
    file.chmod(0o640)
    write_whole(file, "سلام\n")
    assert ("سلام\n", 0o640) == (file.read_text("utf-8"), file.stat().st_mode & 0o777)
    assert [file] == list(tmp_path.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    write_whole(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "new")
    assert "old" == file.read_text("utf-8")
    assert [file] == list(tmp_path.iterdir())


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    write_whole(Path(os.devnull), "anything")
    assert Path(os.devnull).exists()
    assert not Path(os.devnull).is_file()
