"""The file of rejected rows: the rows as they were, and what is wrong with each, in the form that was read."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from crm_core.extend import Importer, Source
from crm_transfer.again import marked
from crm_transfer.errors import FileFault
from crm_transfer.report import BEYOND, ERROR_COLUMNS, SURPLUS
from crm_transfer.spill import Rejected


def refuse_no_folder(folder: Path | None) -> None:
    """Refuse a folder for rejected rows in which no file can be made: nobody wants to learn that after the import.

    Raises:
        FileFault: it is not there, is no folder, or may not be written to.
    """
    if folder is None or (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return
    if not folder.exists():
        problem = "there is no such folder"
    else:
        problem = "the folder may not be written to" if folder.is_dir() else "is no folder"
    raise FileFault(
        f"--rejects {folder}: {problem}; nothing was imported",
        hint="make the folder first, or name another; without --rejects the rows go to a file beside theirs",
        file=str(folder),
        rule="rejects",
    )


def write_rejects(
    path: Path,
    importer: Importer,
    source: Source,
    rejected: Callable[[int], Iterator[Rejected]],
    at: int,
    folder: Path | None,
) -> Path:
    """Write the rejected rows of file number `at`, so that they can be corrected and imported again; return where.

    They go to `folder`; without one beside the file, or to the current folder where that cannot be written. A file of
    an earlier import, in which somebody may be correcting rows, stays: the new one then has a number in its name.

    Raises:
        FileFault: there is no place for it.
    """
    suffix = ".jsonl" if importer.name == "jsonl" else path.suffix
    name, unfinished = f"{path.stem}.rejects{suffix}", f".{path.stem}.rejects.{os.getpid()}{suffix}"
    kept = [i for i, c in enumerate(source.columns) if c not in ERROR_COLUMNS]
    most = max((sum(cell.count(BEYOND) for cell in r.cells) for r in rejected(at)), default=0)
    beyond = [f"{SURPLUS}{number}" for number in range(1, most + 1)]
    columns = [*(source.columns[i] for i in kept), *beyond, *ERROR_COLUMNS]
    folders = [folder] if folder else [path.parent, Path.cwd()]
    for place in folders:
        found = ([*_parted(r, kept, most), str(r.row), r.column, r.rule, r.message] for r in rejected(at))
        rows = (marked(columns, row) for row in found)
        try:
            importer.write(place / unfinished, columns, rows, source.options)
            return (place / unfinished).replace(_free(place / name, place / unfinished))
        except OSError as error:
            problem = error
            (place / unfinished).unlink(missing_ok=True)
    raise FileFault(
        f"the reject file {name} cannot be written: {problem.strerror}",
        hint="import the file again with --rejects DIR: rows that are in will be unchanged",
    ) from problem


def _parted(row: Rejected, kept: list[int], most: int) -> list[str]:
    """Return the cells of a row, at the end those beyond its columns."""
    cells, beyond = [row.cells[i] for i in kept], list[str]()
    for at, cell in enumerate(cells) if most else ():
        if BEYOND in cell:
            cells[at], *beyond = cell.split(BEYOND)
    return cells + beyond + [""] * (most - len(beyond))


def _free(wanted: Path, content: Path) -> Path:
    """Return the name, or the next one with a number, that no file has, or one of the same content."""
    free, number = wanted, 1
    while free.exists() and not filecmp.cmp(free, content, shallow=False):
        number += 1
        free = wanted.with_stem(f"{wanted.stem}-{number}")
    return free
