"""Every kind of schema change over 1,000 awkward rows, killed after each step: a second run converges."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from crm_core.errors import CrmError
from crm_core.extend import DataMigration, Storage
from crm_core.ledger.evolution import upgrade
from crm_core.ledger.purge import purge
from crm_core.ledger.tables import LEDGER_TABLES
from crm_core.records.schema import Column, Index, Manifest, Table
from crm_core.testing.tables import AWKWARD_NUMBERS, AWKWARD_TEXTS
from tests.torture import Finding, require
from tests.torture.backends import Backend
from tests.torture.faults import KILLED, Mode, faults, in_child, must_break

PROMISE = "migrations"
ROWS = 1000
_MOST = 240
"""Statements of one revision that are failed: a data migration writes row by row on SQLite, 2,000 statements."""
_SYSTEM = tuple(Column(name, "int", nullable=False) for name in ("id", "version", "created_tx", "updated_tx"))
_THINGS = Table(
    "things",
    (
        *_SYSTEM,
        Column("name", "text", max_length=6000),
        Column("code", "text", max_length=40, nullable=False),
        Column("size", "int"),
        Column("crm_x__points", "int", owner="crm-x"),
    ),
    (Index(("size",)), Index(("crm_x__points",))),
)
_OWN = Table("x_entries", (*_SYSTEM, Column("thing_id", "int", references="things", owner="crm-x")), (), "crm-x")


def _manifest(things: Table, version: str) -> Manifest:
    tables = {table.name: table for table in (things, _OWN, *LEDGER_TABLES)}
    return Manifest(tables, {"crm-core": version, "crm-x": "1.0"})


def _with(*columns: Column, indexes: Sequence[Index] = _THINGS.indexes) -> Table:
    changed = {column.was or column.name: column for column in columns}
    old = [changed.pop(column.name, column) for column in _THINGS.columns]
    return attrs.evolve(_THINGS, columns=(*old, *changed.values()), indexes=tuple(indexes))


def _step(to: str, columns: tuple[str, ...], change: Any) -> DataMigration:
    return DataMigration(
        owner="crm-core", from_version="1.0", to_version=to, table="things", columns=columns, change=change
    )


def _codes(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    return {row["id"]: {"code": f"c{row['id']}"} for row in rows}


def _turned(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    # Rows that were turned are known by their mark: a chunk that was committed before a crash comes again.
    return _turned_again([row for row in rows if not str(row["name"]).startswith("<")])


def _turned_again(rows: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Of the control: a change that does not know the rows that it has changed before."""
    return {row["id"]: {"name": f"<{row['name']}"} for row in rows}


_DATA = "data in two steps, then a unique index"
REVISIONS: dict[str, tuple[Table, tuple[DataMigration, ...]]] = {
    "add fields": (_with(Column("city", "text"), Column("weight", "int")), ()),
    "add an index": (_with(indexes=(*_THINGS.indexes, Index(("name", "size")))), ()),
    "remove an index": (_with(indexes=_THINGS.indexes[1:]), ()),
    "widen": (_with(Column("name", "text")), ()),
    "relax": (_with(Column("code", "text", max_length=40)), ()),
    "rename, indexed": (_with(Column("length", "int", was="size"), indexes=(Index(("length",)),)), ()),
    _DATA: (
        _with(indexes=(*_THINGS.indexes, Index(("code",), unique=True))),
        (_step("1.1", ("code",), _codes), _step("1.2", ("name",), _turned)),
    ),
}


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Take each revision, failed at each statement, and a purge."""
    backend = backend.anew()
    template, work = place / "template", place / "work"
    _prepare(backend, template)
    tried = 0
    for name in (*REVISIONS, "purge"):
        expected, count = _clean(backend, template, work, name)
        points = _every(count) if long else _some(backend, count)
        modes: tuple[Mode, ...] = ("exit", "raise", "gone")
        for at in points:
            for mode in modes if long else modes[at % 3 : at % 3 + 1]:
                _again(backend, template, work)
                _converges(backend, work, name, at, mode, expected)
                tried += 1
    if backend.name == "sqlite":
        _control(backend, template, work)
    figure = (
        f"{len(REVISIONS)} revisions and a purge over {ROWS} rows, {tried} times cut off: all converge, nothing lost"
    )
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _converges(backend: Backend, work: Path, name: str, at: int, mode: Mode, expected: Any) -> None:
    """Take a revision that is cut off at a statement, and take it again."""
    _fail(backend, work, name, at, mode)
    _take(backend, work, name)
    require(_dump(backend, work) == expected, f"{name}, statement {at}, {mode}, then again: another content")


def _control(backend: Backend, template: Path, work: Path) -> None:
    """Break the promise on purpose: an index that is not made, and a change that is made twice to what it changed."""

    def indexed() -> None:
        _clean(backend, template, work, "add an index")

    def turned() -> None:
        expected, count = _clean(backend, template, work, _DATA)
        # The last chunk is committed some statements before the end, and noted some statements later.
        for at in range(count - 40, count, 4):
            _again(backend, template, work)
            _converges(backend, work, _DATA, at, "exit", expected)

    table, migrations = REVISIONS[_DATA]
    REVISIONS[_DATA] = table, (migrations[0], attrs.evolve(migrations[1], change=_turned_again))
    try:
        must_break("another content", str, turned)
    finally:
        REVISIONS[_DATA] = table, migrations
    must_break("(name, size) is missing", lambda sql: "SELECT 1" if sql.startswith("CREATE INDEX") else sql, indexed)


def _some(backend: Backend, count: int) -> Sequence[int]:
    """Return the statements of the quick form; MariaDB, which commits each of them, takes longest to be put back."""
    chosen = {count // 2, count - 1}
    return sorted((chosen if backend.name == "mariadb" else {1, *chosen, count // 3, count}) - {0})


def _every(count: int) -> Sequence[int]:
    """Return every statement; of thousands, most of which write a row each, the first, the last and some by lot."""
    if count <= _MOST:
        return range(1, count + 1)
    edge = _MOST // 6
    between = random.Random(20261122).sample(range(edge + 1, count - edge + 1), _MOST - 2 * edge)
    return [*range(1, edge + 1), *sorted(between), *range(count - edge + 1, count + 1)]


def _prepare(backend: Backend, place: Path) -> None:
    """Make a workspace of the first declarations, and fill it."""
    backend.settle(place)
    storage = backend.opened(place)
    upgrade(storage, _manifest(_THINGS, "1.0"))
    texts, numbers = AWKWARD_TEXTS, AWKWARD_NUMBERS
    rows = [(n, 1, 1, 1, texts[n % len(texts)], "same", numbers[n % len(numbers)], n) for n in range(1, ROWS + 1)]
    storage.begin()
    storage.insert_many("things", _THINGS.column_names, rows)
    storage.insert_many("x_entries", _OWN.column_names, [(n, 1, 1, 1, n) for n in range(1, 50)])
    storage.commit()
    storage.close()


def _again(backend: Backend, template: Path, work: Path) -> None:
    """Put a workspace back to what it was before any change; on a server the tables are made, and the rows copied."""
    if backend.files:
        backend.again(template, work)
        return
    backend.settle(work)
    storage = backend.opened(work)
    upgrade(storage, _manifest(_THINGS, "1.0"))
    storage.close()
    backend.copy_rows(template, work)


def _take(backend: Backend, work: Path, name: str) -> None:
    storage = backend.opened(work)
    try:
        _change(storage, name)
    finally:
        storage.close()


def _change(storage: Storage, name: str) -> None:
    if name != "purge":
        table, migrations = REVISIONS[name]
        upgrade(storage, _manifest(table, "1.2"), migrations)
        return
    stored = storage.schema()
    assert stored is not None
    storage.use(stored)
    if "x_entries" in stored.tables:
        purge(storage, "crm-x", "x")


def _clean(backend: Backend, template: Path, work: Path, name: str) -> tuple[Any, int]:
    _again(backend, template, work)
    before = _dump(backend, work)
    with faults.armed("count"):
        _take(backend, work, name)
    after = _dump(backend, work)
    require(before != after, f"{name} changes nothing")
    if name not in ("purge",):
        kept = before[1]["things"][0], after[1]["things"][0]
        require(kept[0] == kept[1] == ROWS, f"{name}: {kept[1]} of {ROWS} rows are left")
    return after, faults.count


def _fail(backend: Backend, work: Path, name: str, at: int, mode: Mode) -> None:
    def cut_off() -> None:
        with faults.armed(mode, at):
            _take(backend, work, name)

    if mode == "exit":
        code = in_child(cut_off)
        require(code == KILLED, f"{name}, statement {at}: the process ended with {code}")
        return
    try:
        cut_off()
    except CrmError:
        return
    require(mode == "gone" or faults.count < at, f"{name}, statement {at}: no error reached the caller")


def _dump(backend: Backend, work: Path) -> tuple[Any, dict[str, tuple[int, str]]]:
    """Return the manifest and, by table, how many rows there are and all they say."""
    storage = backend.opened(work)
    try:
        stored = storage.schema() or Manifest({}, {})
        storage.use(stored)
        require(storage.check() in ([], None), f"{storage.check()}")
        return stored.to_json(), {
            name: (storage.count(name), repr([*storage.scan(name, sorted(table.column_names))]))
            for name, table in stored.tables.items()
        }
    finally:
        storage.close()
