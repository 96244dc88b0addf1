"""Making text keys anew that an older kernel folded in another way, as a part of an upgrade of the database.

A schema version says how keys are folded. Since version 2 the Turkish letters i with and without a dot are one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from crm_core.extend.app import DataMigration
from crm_core.records.schema import Manifest, Primitive, Table
from crm_core.values import text_key

Pair = tuple[Primitive, Primitive]
_FOLDED: Final = 2
"""The schema version since which keys are folded as they are now."""
_ADDRESSES: Final = "contact_points"


def rekeyings(stored: Manifest | None, target: Manifest) -> tuple[DataMigration, ...]:
    """Return what makes the keys of a database anew that was written by an older kernel; nothing for a newer one."""
    if stored is None or stored.version >= _FOLDED:
        return ()
    tables = (table for name, table in target.tables.items() if name in stored.tables)
    return tuple(found for table in tables if (found := _rekeying(table)) is not None)


def refolded(table: str, cells: Mapping[str, Pair]) -> Mapping[str, Pair]:
    """Return what an image of the ledger says, (old, new) by column, with its keys as they are folded now."""
    found = dict(cells)
    for name, key in _pairs(table, cells):
        old, new = cells[key]
        found[key] = (_refold(table, cells[name][0], old), _refold(table, cells[name][1], new))
    return found


def _pairs(table: str, names: Collection[str]) -> list[tuple[str, str]]:
    """Return the columns of texts and of their keys."""
    pairs = [(name, f"{name}_key") for name in names if f"{name}_key" in names]
    return [*pairs, ("value", "key")] if table == _ADDRESSES and {"value", "key"} <= set(names) else pairs


def _refold(table: str, text: Primitive, key: Primitive) -> Primitive:
    """Return the key of a text as it is folded now; what is no key of it stays, and so does that of an e-mail."""
    if not isinstance(key, str) or key.isascii() or (table == _ADDRESSES and "@" in key[1:]):
        return key
    folded = text_key(key)
    return folded if folded == text_key(str(text or "")) else key


def _rekeying(table: Table) -> DataMigration | None:
    names = [column.name for column in table.columns if column.type == "text"]
    pairs = _pairs(table.name, names) if "version" in table.column_names else []
    if not pairs:
        return None

    def change(rows: Sequence[Mapping[str, Any]]) -> Mapping[int, Mapping[str, Any]]:
        return {row["id"]: {key: _refold(table.name, row[name], row[key]) for name, key in pairs} for row in rows}

    return DataMigration(
        owner="crm-core",
        from_version=f"text keys of version {_FOLDED - 1}",
        to_version=str(_FOLDED),
        table=table.name,
        columns=tuple(dict.fromkeys(name for pair in pairs for name in pair)),
        change=change,
    )


__all__ = ["refolded", "rekeyings"]
