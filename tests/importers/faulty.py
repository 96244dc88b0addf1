"""Importers of one small format: one that keeps its contract, and others that break one promise each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import attrs

from crm_core import hookimpl
from crm_core.errors import CrmError
from crm_core.extend import BadRow, Importer, Source, SourceRow

MAPPING = """
[file]
system = "pipes"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
first_contact_at = "since"
"""


def lines_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, line.rstrip("\n").split("|")


def open_pipes(path: Path, options: Mapping[str, Any]) -> Source:
    """A header, rows parted by bars, and END in the last line."""
    total, last = -1, [""]
    for _, cells in lines_of(path):
        total, last = total + 1, cells
    if last != ["END"]:
        raise CrmError(f"{path.name} was cut off: it does not say END", hint="export it again")
    columns = tuple(next(lines_of(path))[1])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(
        columns=columns, guesses={}, rows=rows_of(path, columns), total=total - 1, digest=digest, options=options
    )


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[SourceRow | BadRow]:
    for at, (number, cells) in enumerate(lines_of(path)):
        if at and cells != ["END"]:
            yield SourceRow(number, cells)


def write_pipes(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines("|".join(row) + "\n" for row in [columns])
        file.writelines("|".join(row) + "\n" for row in rows)
        file.write("END\n")


def doubles_rows(path: Path, options: Mapping[str, Any]) -> Source:
    source = open_pipes(path, options)
    return attrs.evolve(source, rows=(row for row in source.rows for _ in range(2)))


def loses_the_last_row(path: Path, options: Mapping[str, Any]) -> Source:
    source = open_pipes(path, options)
    return attrs.evolve(source, rows=(row for at, row in enumerate(source.rows, 1) if at < source.total))


def numbers_from_zero(path: Path, options: Mapping[str, Any]) -> Source:
    source = open_pipes(path, options)
    return attrs.evolve(source, rows=(attrs.evolve(row, number=at) for at, row in enumerate(source.rows)))


def loads_everything(path: Path, options: Mapping[str, Any]) -> Source:
    source = open_pipes(path, options)
    return attrs.evolve(source, rows=iter(list(source.rows)))


def refuses_on_the_way(path: Path, options: Mapping[str, Any]) -> Source:
    def rows() -> Iterator[SourceRow | BadRow]:
        yield from rows_of(path, columns)
        if last != ["END"]:
            raise CrmError(f"{path.name} was cut off: it does not say END", hint="export it again")

    read = list(lines_of(path))
    columns, last = tuple(read[0][1]), read[-1][1]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(columns=columns, guesses={}, rows=rows(), total=len(read) - 2, digest=digest, options=options)


def digests_something_else(path: Path, options: Mapping[str, Any]) -> Source:
    return attrs.evolve(open_pipes(path, options), digest=hashlib.sha256(path.name.encode()).hexdigest())


def counts_lines(path: Path, options: Mapping[str, Any]) -> Source:
    source = open_pipes(path, options)
    return attrs.evolve(source, total=source.total + 2)


def makes_up_keys(path: Path, options: Mapping[str, Any]) -> Source:
    """Its own column is another one at each opening."""
    source = open_pipes(path, options)
    keys = count(time.time_ns())
    place = source.columns.index("no")

    def rows() -> Iterator[SourceRow | BadRow]:
        for row in source.rows:
            yield attrs.evolve(row, cells=[*row.cells[:place], str(next(keys)), *row.cells[place + 1 :]])

    return attrs.evolve(source, rows=rows())


def forgets_a_cell(path: Path, options: Mapping[str, Any]) -> Source:
    source = open_pipes(path, options)
    return attrs.evolve(source, rows=(attrs.evolve(row, cells=row.cells[:-1]) for row in source.rows))


def writes_without_errors(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
) -> None:
    kept = [at for at, name in enumerate(columns) if not name.startswith("error_")]
    write_pipes(path, [columns[at] for at in kept], ([row[at] for at in kept] for row in rows), options)


def writes_only_the_first(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], options: Mapping[str, Any]
) -> None:
    write_pipes(path, columns, list(rows)[:1], options)


def takes_everything(head: bytes) -> bool:
    return True


def importer(name: str, **changed: Any) -> Importer:
    given: dict[str, Any] = {"open": open_pipes, "write": write_pipes, "mapping": lambda columns: MAPPING, **changed}
    return Importer(name=name, suffixes=(".pipes",), **given)


class Hooks:
    @hookimpl
    def register_importers(self) -> Iterable[Importer]:
        opens = [
            doubles_rows, loses_the_last_row, numbers_from_zero, loads_everything, refuses_on_the_way,
            digests_something_else, counts_lines, makes_up_keys, forgets_a_cell,
        ]  # fmt: skip
        return [
            importer("pipes", recognises=lambda head: head.startswith(b"no|")),
            *(importer(each.__name__, open=each) for each in opens),
            importer("writes_without_errors", write=writes_without_errors),
            importer("writes_only_the_first", write=writes_only_the_first),
            importer("takes_everything", recognises=takes_everything),
        ]


plugin = Hooks()
