"""The content of a portable backup: manifest and rows as compressed lines of JSON, written and read as a stream.

A line of the manifest; then for each table, by name, a line `{"table", "columns"}` and lines of rows. It is read from
any storage by the contract's snapshot, and put into any that has the capability `replace`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import attrs

from crm_core.errors import StorageError
from crm_core.extend import Storage, TableRows
from crm_core.ledger.tables import HEAD, LEASED
from crm_core.records.schema import Manifest
from crm_core.upkeep.persons import NOBODY, Asked, Persons, Seen

_ROWS: Final = 2_000
"""Rows of one line, which is read and written at a time."""
_LEVEL: Final = 5
"""Of zlib: the default, 6, takes a third longer and saves a hundredth."""
_TRIES: Final = 5

Cells = dict[str, Any]
Release = Callable[[str, list[Cells]], list[Cells]]
"""Takes a table of those that have leases, and the cells of its rows; returns the cells as they go back."""


@attrs.frozen(kw_only=True)
class Content:
    """What tables hold: rows and digests by table; the position of the ledger's head, and the rows that have leases.

    `seen` is what they say of erasures, and of the persons and consents that were asked for.
    """

    manifest: Manifest
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    position: int
    leased: Mapping[str, tuple[Cells, ...]]
    seen: Seen


def read_storage(
    storage: Storage, take: Callable[[bytes], object] = lambda line: None, *, asked: Asked = NOBODY
) -> Content:
    """Read all rows of a storage, columns in the order of their names; `take` receives the lines of a portable backup.

    Inside a snapshot it is of one moment; the manifest in use must be the stored one.
    """
    manifest = storage.schema() or Manifest({}, {})
    tally = _Tally(asked)
    take(json.dumps(manifest.to_json()).encode() + b"\n")
    for name, table in sorted(manifest.tables.items()):
        columns = tuple(sorted(table.column_names))
        take(json.dumps({"table": name, "columns": columns}).encode() + b"\n")
        tally.begin(name, columns)
        for batch in storage.scan(name, columns, batch=_ROWS):
            line = json.dumps(batch, separators=(",", ":")).encode() + b"\n"
            tally.add(line, batch)
            take(line)
    return tally.content(manifest)


@contextmanager
def snapshot(storage: Storage) -> Iterator[None]:
    """Read one state of the data inside, by the manifest of that state; others write on.

    Raises:
        StorageError: the schema changes again and again meanwhile.
    """
    for _ in range(_TRIES):
        manifest = storage.schema() or Manifest({}, {})
        storage.use(manifest)
        storage.begin(write=False)
        try:
            if manifest == (storage.schema() or Manifest({}, {})):
                yield
                return
        finally:
            storage.rollback()
    raise StorageError("the schema is being changed", hint="let the upgrade end, then try again")


def write_portable(storage: Storage, file: Path) -> Content:
    """Write all that a storage holds to a new file, inside a `snapshot`."""
    with (
        file.open("wb") as target,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=target, mtime=0) as lines,
    ):
        return read_storage(storage, lines.write)


def read_portable(source: IO[bytes], file: Path, *, asked: Asked = NOBODY) -> Content:
    """Read what `write_portable` wrote to its end, count and digest it.

    Raises:
        StorageError: it cannot be understood.
    """
    tally = _Tally(asked)
    with told(file), gzip.GzipFile(fileobj=source) as lines:
        manifest = Manifest.from_json(json.loads(lines.readline()))
        for line in lines:
            found = json.loads(line)
            if isinstance(found, dict):
                tally.begin(found["table"], tuple(found["columns"]))
            else:
                tally.add(line, found)
    return tally.content(manifest)


def fill_from(source: IO[bytes], storage: Storage, release: Release) -> None:
    """Put what `write_portable` wrote in place of all that a storage holds; what has a lease passes by `release`."""
    with gzip.GzipFile(fileobj=source) as lines:
        manifest = Manifest.from_json(json.loads(lines.readline()))
        storage.replace(manifest, _tables(lines, release))


@contextmanager
def told(file: Path) -> Iterator[None]:
    """Tell in the CRM's words of a content that cannot be understood, although its digest is right."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{file} holds rows in a form that this crm-core does not understand",
            hint="restore it with the version that wrote it: its second line names that as kernel",
        ) from error


class _Tally:
    """Counts and digests the rows of tables, and keeps those that say how far the ledger is and who was told."""

    def __init__(self, asked: Asked) -> None:
        self._persons = Persons(asked)
        self._name = ""
        self._columns: tuple[str, ...] = ()
        self._rows: dict[str, int] = {}
        self._digests: dict[str, Any] = {}
        self._kept: dict[str, list[Cells]] = {name: [] for name in (HEAD.name, *LEASED)}

    def begin(self, name: str, columns: tuple[str, ...]) -> None:
        self._name, self._columns = name, columns
        self._rows[name], self._digests[name] = 0, hashlib.sha256()

    def add(self, line: bytes, rows: list[Any]) -> None:
        self._rows[self._name] += len(rows)
        self._digests[self._name].update(line[1:-2] + b",")  # the same for batches of any size
        self._persons.see(self._name, self._columns, rows)
        if self._name in self._kept:
            self._kept[self._name] += [dict(zip(self._columns, row, strict=True)) for row in rows]

    def content(self, manifest: Manifest) -> Content:
        return Content(
            manifest=manifest,
            rows=self._rows,
            digests={name: digest.hexdigest() for name, digest in self._digests.items()},
            position=max((int(one["position"] or 0) for one in self._kept[HEAD.name]), default=0),
            leased={name: tuple(self._kept[name]) for name in LEASED},
            seen=self._persons.seen(),
        )


def _tables(lines: gzip.GzipFile, release: Release) -> Iterator[TableRows]:
    line = lines.readline()
    while line:
        head = json.loads(line)
        name, columns = head["table"], tuple(head["columns"])

        def batches(name: str = name, columns: tuple[str, ...] = columns) -> Iterator[list[tuple[Any, ...]]]:
            nonlocal line
            leased: list[Cells] = []
            while (line := lines.readline()).startswith(b"["):
                rows = [tuple(row) for row in json.loads(line)]
                if name in LEASED:
                    leased += [dict(zip(columns, row, strict=True)) for row in rows]
                else:
                    yield rows
            if name in LEASED:
                yield [tuple(one[column] for column in columns) for one in release(name, leased)]

        found = batches()
        yield TableRows(name, columns, found)
        for _ in found:  # what was not asked for
            pass
