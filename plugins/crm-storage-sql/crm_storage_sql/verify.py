"""Reading a whole SQLite file for damage, and for what its manifest says and it does not hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from crm_core.records.schema import Manifest, Table
from crm_core.values import format_id
from crm_storage_sql.dialect import index_name
from crm_storage_sql.trigram import PREFIX

_SHOWN: Final = 20
"""Faults of one kind that are told; a damaged file has thousands that mean the same."""


def faults(connection: sqlite3.Connection, manifest: Manifest | None) -> list[str]:
    """Return in words what is wrong with the file: pages and indexes, foreign keys, missing tables and columns."""
    found = [str(text) for (text,) in connection.execute(f"PRAGMA integrity_check({_SHOWN})") if text != "ok"]
    found = [text for text in found if not _of_the_search(text)]
    for table, row_id, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_SHOWN):
        found.append(f"{table} {_shown(row_id)} points at a row of {parent} that does not exist")
    for declared in manifest.tables.values() if manifest is not None else ():
        found += _missing(connection, declared)
    return found


def _of_the_search(text: str) -> bool:
    """Say whether a fault is FTS5's own, which newer builds of SQLite tell here; `mending` looks for those itself."""
    return "FTS5 table" in text and f".{PREFIX}_" in text


def _missing(connection: sqlite3.Connection, table: Table) -> Iterator[str]:
    there = dict(connection.execute("SELECT name, type FROM pragma_table_info(?)", (table.name,)))
    if not there:
        yield f"the table {table.name} is missing"
        return
    for column in table.columns:
        wanted = "INTEGER" if column.type == "int" else "TEXT"
        if column.name not in there:
            yield f"the column {table.name}.{column.name} is missing"
        elif there[column.name] != wanted:
            yield f"the column {table.name}.{column.name} is {there[column.name]}, not {wanted}"
    unique = {
        name: bool(u)
        for name, u in connection.execute('SELECT name, "unique" FROM pragma_index_list(?)', (table.name,))
    }
    for index in table.indexes:
        if unique.get(index_name(table.name, index)) is not index.unique:
            yield f"the {'unique ' * index.unique}index over {table.name} ({', '.join(index.columns)}) is missing"


def _shown(row_id: int | None) -> str:
    return format_id(row_id) if row_id is not None and row_id > 0 else str(row_id)
