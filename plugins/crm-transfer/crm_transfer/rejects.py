"""The file of rejected rows: the rows as they were, and what is wrong with each, in the form that was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from crm_core.extend import Importer, Source
from crm_transfer.errors import FileFault
from crm_transfer.report import ERROR_COLUMNS
from crm_transfer.spill import Rejected


def write_rejects(
    path: Path,
    importer: Importer,
    source: Source,
    rejected: Callable[[int], Iterator[Rejected]],
    at: int,
    folder: Path | None,
) -> Path:
    """Write the rejected rows of file number `at`, so that they can be corrected and imported again; return where.

    They go to `folder`; without one beside the file, or to the current folder where that cannot be written.

    Raises:
        FileFault: there is no place for it.
    """
    suffix = ".jsonl" if importer.name == "jsonl" else path.suffix
    name = f"{path.stem}.rejects{suffix}"
    columns = [c for c in source.columns if c not in ERROR_COLUMNS]
    kept = [i for i, c in enumerate(source.columns) if c not in ERROR_COLUMNS]
    folders = [folder] if folder else [path.parent, Path.cwd()]
    for place in folders:
        rows = ([*(r.cells[i] for i in kept), str(r.row), r.column, r.rule, r.message] for r in rejected(at))
        try:
            importer.write(place / name, [*columns, *ERROR_COLUMNS], rows, source.options)
        except OSError as error:
            problem = error
            (place / name).unlink(missing_ok=True)
            continue
        return place / name
    raise FileFault(
        f"the reject file {name} cannot be written: {problem.strerror}",
        hint="import the file again with --rejects DIR: rows that are in will be unchanged",
    ) from problem
