"""Schema evolution: how a database reaches the declarations at hand, whatever storage keeps it.

Apart from the storages, because they only carry out single changes; which ones, in what order, and which are refused,
is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import attrs

from crm_core.errors import NewerDatabase, StorageError
from crm_core.extend.app import DataMigration
from crm_core.extend.storage import Storage, Update
from crm_core.ledger.rekeying import rekeyings
from crm_core.records.schema import (
    AddField,
    AddIndex,
    AddType,
    Column,
    Drop,
    DropIndex,
    Index,
    Manifest,
    Primitive,
    Relax,
    Rename,
    Row,
    SchemaChange,
    Search,
    Table,
    Widen,
)

CHUNK: Final = 1000
"""Rows of a data migration in one transaction."""


@attrs.frozen(kw_only=True)
class UpgradeReport:
    """What an upgrade did, or (dry run) would do: changes, data migrations, and how many rows those changed."""

    changes: tuple[SchemaChange, ...]
    migrations: tuple[DataMigration, ...]
    rows: int = 0
    dry_run: bool = False

    @property
    def needed(self) -> bool:
        """Whether the database was behind the declarations."""
        return bool(self.changes or self.migrations)


def plan_changes(
    stored: Manifest | None, wanted: Manifest, migrations: Sequence[DataMigration] = ()
) -> list[SchemaChange]:
    """Return the changes that lead from what a database holds to what is declared, none of which loses data.

    Tables and columns that nobody declares any more (a detached plugin's) are kept. `migrations` are those that run
    with the changes: a new required field is allowed when one of them fills it.

    Raises:
        StorageError: a declaration asks for what stored values may not satisfy; the hint names the way out.
    """
    changes: list[SchemaChange] = []
    tables = stored.tables if stored else {}
    for table in wanted.tables.values():
        if table.name in tables:
            filled = {c for m in migrations if m.table == table.name for c in m.columns}
            changes += _table_changes(tables[table.name], table, filled)
        else:
            changes.append(AddType(table))
    return changes


def merged_manifest(stored: Manifest | None, wanted: Manifest) -> Manifest:
    """Return the manifest after the upgrade: what is declared, and behind it what is kept for detached plugins."""
    before = stored or Manifest({}, {})
    tables = {name: _merged_table(before.tables.get(name), table) for name, table in wanted.tables.items()}
    tables |= {name: table for name, table in before.tables.items() if name not in tables}
    declaring = _declaring(tables.values())
    versions = {**before.owners, **wanted.owners}
    return Manifest(tables, {owner: versions[owner] for owner in versions if owner in declaring}, wanted.version)


def check_not_newer(stored: Manifest | None, wanted: Manifest) -> None:
    """Refuse a database that a newer kernel, or a newer version of an installed plugin, has written.

    Raises:
        NewerDatabase: it names who is behind, and what to install.
    """
    if stored is None:
        return
    if stored.version > wanted.version:
        raise NewerDatabase(
            f"the database has schema version {stored.version}, this crm-core knows {wanted.version}",
            hint="install a newer crm-core: pip install --upgrade crm-core",
        )
    for owner in sorted(_declaring(stored.tables.values()) & wanted.owners.keys() & stored.owners.keys()):
        before, now = stored.owners[owner], wanted.owners[owner]
        if version_key(before) > version_key(now):
            raise NewerDatabase(
                f"the database was written by {owner} {before}; {owner} {now} is installed and may not know all of it",
                hint=f'install that version or a later one: pip install --upgrade "{owner}>={before}"',
            )


def prepare(storage: Storage, stored: Manifest | None, wanted: Manifest) -> bool:
    """Make an opened storage, which holds `stored`, ready for the declarations; say whether it must be upgraded first.

    Raises:
        NewerDatabase: see `check_not_newer`.
    """
    check_not_newer(stored, wanted)
    target = merged_manifest(stored, wanted)
    if stored is not None and same_but_order(stored, target):
        storage.use(target)
        return False
    return True


def upgrade(
    storage: Storage, wanted: Manifest, migrations: Sequence[DataMigration] = (), *, dry_run: bool = False
) -> UpgradeReport:
    """Bring a database up to the declarations; run again after a crash at any point, it arrives at the same.

    New structure comes first, then data migrations by version (each is remembered when it is through), then unique
    indexes, whose keys a migration may have to make unique.

    Raises:
        NewerDatabase: see `check_not_newer`.
        StorageError: a declaration cannot be reached without losing data; or another process holds the lock.
    """
    with nullcontext() if dry_run else storage.upgrading():
        stored = storage.schema()
        check_not_newer(stored, wanted)
        pending = _pending(stored, wanted, migrations)
        changes = plan_changes(stored, wanted, pending)
        target = merged_manifest(stored, wanted)
        rekeyed = rekeyings(stored, target)
        moves = bool(pending or rekeyed)
        report = UpgradeReport(changes=tuple(changes), migrations=(*pending, *rekeyed), dry_run=dry_run)
        if dry_run:
            return report
        if stored is not None and same_but_order(stored, target):
            storage.use(target)
            return report
        late = [change for change in changes if moves and isinstance(change, AddIndex) and change.index.unique]
        rows = 0
        if moves and stored is not None:
            owners = {**target.owners, **_owners_of(pending, stored)}
            between = attrs.evolve(_without(target, late), owners=owners, version=stored.version)
            storage.apply([change for change in changes if change not in late], between)
            for migration in pending:
                rows += _migrate(storage, migration)
                between = attrs.evolve(between, owners={**between.owners, migration.owner: migration.to_version})
                storage.apply([], between)
            rows += sum(_migrate(storage, migration) for migration in rekeyed)
            storage.apply(late, target)
        else:
            storage.apply(changes, target)
        return attrs.evolve(report, rows=rows)


def describe(change: SchemaChange) -> str:
    """Say in words what a change does."""
    match change:
        case AddType(table):
            return f"add table {table.name} ({table.owner})"
        case AddField(table_name, column):
            return f"add field {table_name}.{column.name} ({column.owner})"
        case AddIndex(table_name, index):
            return f"add {'unique ' * index.unique}index on {table_name} ({', '.join(index.columns)})"
        case DropIndex(table_name, index):
            return f"remove index on {table_name} ({', '.join(index.columns)})"
        case Widen(table_name, column):
            limit = f"{column.max_length} characters" if column.max_length else "text of any length"
            return f"allow {limit} in {table_name}.{column.name}"
        case Relax(table_name, column):
            return f"allow {table_name}.{column.name} to be empty"
        case Rename(table_name, old, column):
            return f"rename field {table_name}.{old} to {column.name}"
        case Search(table_name, searched):
            return f"search {table_name} by {', '.join(one.column for one in searched) or 'nothing'}"
        case Drop(table_name, column_name):
            return f"remove {f'field {table_name}.{column_name}' if column_name else f'table {table_name}'}"


def version_key(version: str) -> tuple[Any, ...]:
    """Return a key that orders versions as PEP 440 does, as far as releases, pre- and development releases go.

    >>> version_key("0.10") > version_key("0.9.1") > version_key("0.9.1rc1") > version_key("0.9.1.dev4")
    True
    """
    found = re.match(r"\D*(\d+(?:\.\d+)*)[._-]?(?:(dev|a|alpha|b|beta|c|rc)[._-]?(\d*))?", version.casefold())
    if found is None:
        return ((), 0, 0)
    release = [int(part) for part in found[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    stage = {"dev": -4, "a": -3, "b": -2, "c": -1, "r": -1}.get("dev" if found[2] == "dev" else (found[2] or "")[:1], 0)
    return (tuple(release), stage, int(found[3] or 0))


def _table_changes(stored: Table, wanted: Table, filled: set[str]) -> Iterator[SchemaChange]:
    before = {column.name: column for column in stored.columns}
    renames = _renames(stored, wanted)
    for index in stored.indexes:
        if renames.keys() & set(index.columns):
            yield DropIndex(stored.name, index)
    for column in wanted.columns:
        old = next((name for name, new in renames.items() if new == column.name), "")
        known = before.get(column.name) or (before[old] if old else None)
        if known is None:
            if not column.nullable and column.name not in filled:
                raise _refusal(
                    wanted, column, f"is new and required, while {wanted.name} may already hold rows without it"
                )
            yield AddField(wanted.name, column)
            continue
        if old:
            yield Rename(wanted.name, old, column)
        yield from _column_changes(wanted, known, column)
    for column in _kept_columns(stored, wanted):
        if not column.nullable:
            yield Relax(wanted.name, attrs.evolve(column, nullable=True))
    yield from _index_changes(stored, wanted, renames)
    searched = _merged_table(stored, wanted).searched
    if set(stored.searched) != set(searched):
        yield Search(wanted.name, searched)


def _column_changes(table: Table, known: Column, column: Column) -> Iterator[SchemaChange]:
    if (known.type, known.meaning, known.scale) != (column.type, column.meaning, column.scale):
        raise _refusal(table, column, f"changes its type from {_type_name(known)} to {_type_name(column)}")
    if known.nullable and not column.nullable:
        raise _refusal(table, column, "becomes required, while stored records may lack it")
    if column.max_length and (known.max_length == 0 or known.max_length > column.max_length):
        allowed = known.max_length or "any number of"
        raise _refusal(table, column, f"becomes shorter, from {allowed} to {column.max_length} characters")
    if known.max_length and (column.max_length == 0 or column.max_length > known.max_length):
        yield Widen(table.name, column)
    if column.nullable and not known.nullable:
        yield Relax(table.name, column)


def _index_changes(stored: Table, wanted: Table, renames: Mapping[str, str]) -> Iterator[SchemaChange]:
    merged = set(_merged_table(stored, wanted).indexes)
    there = {index for index in stored.indexes if not renames.keys() & set(index.columns)}
    for index in stored.indexes:
        if index in there and index not in merged:
            yield DropIndex(wanted.name, index)
    for index in _merged_table(stored, wanted).indexes:
        if index not in there:
            yield AddIndex(wanted.name, index)


def _merged_table(stored: Table | None, wanted: Table) -> Table:
    if stored is None:
        return wanted
    kept = tuple(attrs.evolve(column, nullable=True) for column in _kept_columns(stored, wanted))
    names = {column.name for column in kept}
    renames = _renames(stored, wanted)
    on_kept = [
        Index(tuple(renames.get(name, name) for name in index.columns), index.unique)
        for index in stored.indexes
        if names & set(index.columns)
    ]
    return attrs.evolve(
        wanted,
        columns=wanted.columns + kept,
        indexes=tuple(dict.fromkeys([*wanted.indexes, *on_kept])),
        searched=wanted.searched + tuple(one for one in stored.searched if one.column in names),
    )


def _renames(stored: Table, wanted: Table) -> dict[str, str]:
    there = set(stored.column_names)
    declared = set(wanted.column_names)
    return {
        column.was: column.name
        for column in wanted.columns
        if column.was in there and column.was not in declared and column.name not in there
    }


def _kept_columns(stored: Table, wanted: Table) -> list[Column]:
    gone = set(stored.column_names) - set(wanted.column_names) - _renames(stored, wanted).keys()
    return [column for column in stored.columns if column.name in gone]


def _refusal(table: Table, column: Column, what: str) -> StorageError:
    path = column.name.replace("__", ".", 1)
    return StorageError(
        f"{column.owner}: the field {path} of {table.name} {what}; stored values are never cut, guessed or lost",
        hint="declare a new field beside it and fill that by a DataMigration, or go back to its old declaration",
    )


def _type_name(column: Column) -> str:
    if column.meaning == "decimal":
        return f"decimal with {column.scale} digits after the point"
    if column.references:
        return f"reference to {column.references}"
    return column.meaning or {"int": "integer"}.get(column.type, column.type)


def _declaring(tables: Iterable[Table]) -> set[str]:
    return {owner for table in tables for owner in (table.owner, *(column.owner for column in table.columns))}


def same_but_order(one: Manifest, other: Manifest) -> bool:
    """Whether two manifests hold the same tables, columns and indexes for the same versions, in whatever order."""

    def content(manifest: Manifest) -> object:
        tables = {
            t.name: (t.owner, *map(frozenset, (t.columns, t.indexes, t.searched))) for t in manifest.tables.values()
        }
        return manifest.version, dict(manifest.owners), tables

    return content(one) == content(other)


def _pending(
    stored: Manifest | None, wanted: Manifest, migrations: Sequence[DataMigration]
) -> tuple[DataMigration, ...]:
    owners = stored.owners if stored else {}
    pending = [
        migration
        for migration in migrations
        if migration.owner in owners
        and migration.owner in wanted.owners
        and version_key(owners[migration.owner])
        < version_key(migration.to_version)
        <= version_key(wanted.owners[migration.owner])
    ]
    return tuple(sorted(pending, key=lambda m: (m.owner, version_key(m.to_version), version_key(m.from_version))))


def _owners_of(pending: Sequence[DataMigration], stored: Manifest) -> dict[str, str]:
    return {migration.owner: stored.owners[migration.owner] for migration in pending}


def _without(manifest: Manifest, late: Sequence[AddIndex]) -> Manifest:
    tables = dict(manifest.tables)
    for change in late:
        table = tables[change.table]
        tables[table.name] = attrs.evolve(table, indexes=tuple(i for i in table.indexes if i != change.index))
    return attrs.evolve(manifest, tables=tables)


def _migrate(storage: Storage, migration: DataMigration) -> int:
    columns = ("id", "version", *migration.columns)
    changed = 0
    for rows in storage.scan(migration.table, columns, batch=CHUNK):
        while rows:
            updates = list(_updates(migration, rows))
            stale = _write(storage, migration.table, updates)
            changed += len(updates) - len(stale)
            rows = _read_again(storage, migration.table, columns, stale)
    return changed


def _updates(migration: DataMigration, rows: Sequence[Row]) -> Iterator[Update]:
    cells: dict[int, dict[str, Primitive]] = {}
    versions: dict[int, int] = {}
    for id_, version, *values in rows:
        assert isinstance(id_, int)
        assert isinstance(version, int)
        cells[id_] = {"id": id_, **dict(zip(migration.columns, values, strict=True))}
        versions[id_] = version
    for id_, changes in migration.change(list(cells.values())).items():
        different = {name: value for name, value in changes.items() if cells[id_][name] != value}
        if different:
            yield Update(id_, versions[id_], different)


def _write(storage: Storage, table: str, updates: Sequence[Update]) -> list[int]:
    if not updates:
        return []
    storage.begin()
    try:
        stale = storage.update_if_version(table, updates)
        storage.commit()
    except BaseException:
        storage.rollback()
        raise
    return stale


def _read_again(storage: Storage, table: str, columns: Sequence[str], ids: Sequence[int]) -> list[Row]:
    manifest = storage.schema()
    if not ids or manifest is None:
        return []
    at = [manifest.tables[table].column_names.index(name) for name in columns]
    return [tuple(row[i] for i in at) for row in storage.get_many(table, ids)]
