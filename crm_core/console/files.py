"""Files that a command writes: whole, or not at all."""

from __future__ import annotations

from pathlib import Path

from crm_core.settings import whole_file


def write_whole(file: Path, text: str) -> None:
    """Write a text (UTF-8) in the place of a file, which stays until all of it is on the disk; see `whole_file`.

    What is no file, such as a pipe, is written to as it is.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
        return
    with whole_file(file) as beside:
        beside.write_text(text, encoding="utf-8")
