"""Tables, indexes and their changes as SQLite's DDL; each change passes over what is there already.

Columns are not declared NOT NULL or limited in length, because the kernel checks records and SQLite could only take
such a limit back by copying the table: so allowing NULL or longer text changes nothing but the manifest.
"""

from __future__ import annotations

import sqlite3

from crm_core.records.schema import (
    SYSTEM_COLUMNS,
    AddField,
    AddIndex,
    AddType,
    Column,
    Drop,
    DropIndex,
    Index,
    Manifest,
    Rename,
    SchemaChange,
    Table,
)
from crm_storage_sql.dialect import index_name, quote


def carry_out(connection: sqlite3.Connection, change: SchemaChange, manifest: Manifest) -> None:
    """Make one change of the schema; `manifest` is the one the database reaches."""
    match change:
        case AddType(table):
            _create_table(connection, table, manifest)
        case AddField(name, column):
            if column.name not in _columns(connection, name):
                connection.execute(f"ALTER TABLE {quote(name)} ADD COLUMN {_column(column, manifest)}")
        case AddIndex(name, index):
            connection.execute(_create_index(name, index))
        case DropIndex(name, index):
            connection.execute(f"DROP INDEX IF EXISTS {quote(index_name(name, index))}")
        case Rename(name, old, column):
            if old in _columns(connection, name):
                connection.execute(f"ALTER TABLE {quote(name)} RENAME COLUMN {quote(old)} TO {quote(column.name)}")
        case Drop(name, ""):
            connection.execute(f"DROP TABLE IF EXISTS {quote(name)}")
        case Drop(name, column_name):
            _drop_column(connection, name, column_name, manifest)
        case _:  # Widen and Relax: see above
            pass


def _create_table(connection: sqlite3.Connection, table: Table, manifest: Manifest) -> None:
    columns = ", ".join(_column(column, manifest) for column in table.columns)
    connection.execute(f"CREATE TABLE IF NOT EXISTS {quote(table.name)} ({columns}) STRICT")
    for index in table.indexes:
        connection.execute(_create_index(table.name, index))


def _create_index(table: str, index: Index) -> str:
    unique = "UNIQUE " if index.unique else ""
    columns = ", ".join(map(quote, index.columns))
    return f"CREATE {unique}INDEX IF NOT EXISTS {quote(index_name(table, index))} ON {quote(table)} ({columns})"


def _column(column: Column, manifest: Manifest) -> str:
    words = [quote(column.name), "INTEGER" if column.type == "int" else "TEXT"]
    if column.name == "id":
        words.append("PRIMARY KEY")
    elif column.name in SYSTEM_COLUMNS and not column.nullable:
        words.append("NOT NULL")
    if column.references in manifest.tables:
        # Checked at commit, so that the order of writes inside a transaction is free; 3 to 10% of a bulk insert's time.
        words.append(f"REFERENCES {quote(column.references)} (id) DEFERRABLE INITIALLY DEFERRED")
    return " ".join(words)


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _drop_column(connection: sqlite3.Connection, table: str, column: str, manifest: Manifest) -> None:
    """Copy the table without the column: SQLite drops none that is a foreign key."""
    if column not in _columns(connection, table):
        return
    after = manifest.tables[table]
    kept = ", ".join(map(quote, after.column_names))
    copy = Table(f"{table}~", after.columns, (), after.owner)
    _create_table(connection, copy, manifest)
    connection.execute(f"INSERT INTO {quote(copy.name)} ({kept}) SELECT {kept} FROM {quote(table)}")
    connection.execute(f"DROP TABLE {quote(table)}")
    connection.execute(f"ALTER TABLE {quote(copy.name)} RENAME TO {quote(table)}")
    for index in after.indexes:
        connection.execute(_create_index(table, index))
