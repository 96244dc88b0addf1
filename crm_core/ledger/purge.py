"""Taking out of a database what a plugin that is gone has stored: tables, columns, its place in the ledger's queue."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext

import attrs

from crm_core.errors import NotFound, StorageConflict, StorageError, StorageLocked
from crm_core.extend.storage import Storage
from crm_core.ledger.tables import CURSORS, FORGOTTEN
from crm_core.query.ast import Compare, IsNull, Not
from crm_core.records.schema import Drop, Manifest, Table


@attrs.frozen(kw_only=True)
class PurgeReport:
    """What a purge removed, or (dry run) would remove: rows by table, filled cells by `table.column`, cursors."""

    owner: str
    tables: Mapping[str, int]
    columns: Mapping[str, int]
    cursors: int
    dry_run: bool


def purge(storage: Storage, owner: str, plugin: str, *, dry_run: bool = False) -> PurgeReport:
    """Remove what a distribution declared; run again after a crash at any point, it arrives at the same.

    What the ledger recorded of it stays, and cannot be undone any more.

    Args:
        storage: an open storage, outside a transaction, on which the plugin is not at work.
        owner: the distribution whose tables and columns go.
        plugin: the name its delivery cursors carry.
        dry_run: only count.

    Raises:
        NotFound: the database holds nothing of it.
        StorageError: another plugin's records point at its records.
    """
    with nullcontext() if dry_run else storage.upgrading():
        stored = storage.schema() or Manifest({}, {})
        drops = plan_purge(stored, owner)
        cursors = storage.find(CURSORS.name, Compare("plugin", "=", plugin)) if CURSORS.name in stored.tables else []
        place = CURSORS.column_names.index("position")
        left = [row for row in cursors if row[place] != FORGOTTEN]
        if not drops and not left:
            owners = sorted(_owners(stored) - {"crm-core"})
            raise NotFound(
                f"the database holds nothing of {owner}",
                hint=f"it holds data of: {', '.join(owners)}" if owners else "it holds no plugin's data",
            )
        report = PurgeReport(
            owner=owner,
            tables={drop.table: _count(storage, drop) for drop in drops if not drop.column},
            columns={f"{drop.table}.{drop.column}": _count(storage, drop) for drop in drops if drop.column},
            cursors=len(left),
            dry_run=dry_run,
        )
        if not dry_run:
            if left:
                _forget(storage, [(*row[:place], FORGOTTEN, *row[place + 1 :]) for row in left])
            storage.apply(drops, without(stored, owner))
        return report


def plan_purge(stored: Manifest, owner: str) -> list[Drop]:
    """Return the changes that remove a distribution's tables and columns.

    Raises:
        StorageError: what stays points at what would go.
    """
    after = without(stored, owner)
    for table in after.tables.values():
        for column in table.columns:
            if column.references and column.references in stored.tables and column.references not in after.tables:
                raise StorageError(
                    f"{table.name}.{column.name} of {column.owner} points at {column.references} of {owner}",
                    hint=f"purge {column.owner} first",
                )
    drops = [
        Drop(name, column.name)
        for name, table in stored.tables.items()
        if name in after.tables
        for column in table.columns
        if column.name not in after.tables[name].column_names
    ]
    return drops + [Drop(name) for name in stored.tables if name not in after.tables]


def without(stored: Manifest, owner: str) -> Manifest:
    """Return the manifest without what a distribution declared; indexes over its columns go with them."""
    tables = {name: _narrowed(table, owner) for name, table in stored.tables.items() if table.owner != owner}
    return attrs.evolve(
        stored, tables=tables, owners={name: version for name, version in stored.owners.items() if name != owner}
    )


def _narrowed(table: Table, owner: str) -> Table:
    columns = tuple(column for column in table.columns if column.owner != owner)
    names = {column.name for column in columns}
    return attrs.evolve(
        table,
        columns=columns,
        indexes=tuple(index for index in table.indexes if names.issuperset(index.columns)),
        searched=tuple(one for one in table.searched if one.column in names),
    )


def _count(storage: Storage, drop: Drop) -> int:
    """Count what goes: nothing where a purge that was cut off has removed it, and the manifest still names it.

    So it is on a database that commits each change of the schema by itself.
    """
    try:
        return storage.count(drop.table, Not(IsNull(drop.column)) if drop.column else None)
    except (StorageConflict, StorageLocked):
        raise
    except StorageError:
        storage.schema()  # a database that is away says so here, and is not taken for one that holds nothing
        return 0


def _owners(stored: Manifest) -> set[str]:
    return {table.owner for table in stored.tables.values()} | {
        column.owner for table in stored.tables.values() for column in table.columns
    }


def _forget(storage: Storage, rows: list[tuple[int | str | None, ...]]) -> None:
    storage.begin()
    try:
        storage.put_many(CURSORS.name, CURSORS.column_names, rows)
        storage.commit()
    except BaseException:
        storage.rollback()
        raise
