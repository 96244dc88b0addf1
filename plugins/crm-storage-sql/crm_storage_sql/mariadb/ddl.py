"""Schema changes in the words of MariaDB, which commits around each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crm_core.records.schema import Column, Index, SearchedColumn, Table
from crm_storage_sql.dialect import (
    MARIADB,
    PREFIX,
    beginning_of,
    index_name,
    long_columns,
    prefixed_columns,
    quote,
    server_name,
)
from crm_storage_sql.mariadb.session import COLLATION
from crm_storage_sql.room import MANIFEST
from crm_storage_sql.server_ddl import ServerDdl

_SHORT: Final = 200
"""Text up to so many characters is VARCHAR, so that grouping by it stays in memory; longer text has no limit of size,
because a row's VARCHARs together may have 65,535 bytes."""
_LONGEST_KEY: Final = 768
"""The characters that an index takes of one column at most."""
_ENGINE: Final = f"ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4 COLLATE={COLLATION}"


class MariadbDdl(ServerDdl):
    """Schema changes in the words of MariaDB."""

    def create_manifest_table(self, name: str = MANIFEST) -> None:
        """Create the table of the manifest, or one that is to take its place."""
        columns = 'id BIGINT PRIMARY KEY CHECK (id = 1), "json" LONGTEXT'
        self.run(f"CREATE TABLE IF NOT EXISTS {name} ({columns}) {_ENGINE}")

    def create_table(self, table: Table, name: str = "") -> None:
        """Create a table with its indexes, in one statement: it is there whole or not at all.

        `name` is what it is called until it takes the place of another.
        """
        parts = [self.column(table.name, column) for column in table.columns]
        parts += map(_beginning, sorted(prefixed_columns(table, MARIADB.index_bytes)))
        parts += [f"{'UNIQUE ' if index.unique else ''}KEY {self._key(table, index)}" for index in table.indexes]
        self.run(f"CREATE TABLE IF NOT EXISTS {quote(name or table.name)} ({', '.join(parts)}) {_ENGINE}")

    def create_index(self, table: str, index: Index) -> None:
        """Create an index; a text that has a limit becomes VARCHAR first, so that lists can be read in its order."""
        declared = self.manifest.tables[table]
        for column in declared.columns:
            if column.name in index.columns and self._is_longtext(table, column.name):
                self._modify(table, column)
        for name in sorted(self._long(declared, index)):
            self.run(f"ALTER TABLE {quote(table)} ADD COLUMN IF NOT EXISTS {_beginning(name)}")
        name, _, parts = self._key(declared, index).partition(" (")
        unique = "UNIQUE " if index.unique else ""
        self.run(f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {quote(table)} ({parts}")

    def drop_index(self, table: str, name: str) -> None:
        """Remove an index."""
        self.run(f"DROP INDEX IF EXISTS {quote(name)} ON {quote(table)}")

    def drop_table(self, table: str) -> None:
        """Remove a table."""
        self.run(f"DROP TABLE IF EXISTS {quote(table)}")

    def drop_column(self, table: str, column: str) -> None:
        """Remove a column, after the indexes over it, which would go on over the rest; its beginning goes with it."""
        question = (
            "SELECT DISTINCT index_name FROM information_schema.statistics "
            "WHERE table_schema = DATABASE() AND table_name = %s AND column_name IN (%s, %s)"
        )
        for (name,) in self.ask(question, (table, column, beginning_of(column))):
            self.drop_index(table, str(name))
        self.drop_beginning(table, column)
        self.run(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(column)}")

    def rename_column(self, table: str, old: str, new: str) -> None:
        """Rename a column; the beginning of it is made anew with its index."""
        self.drop_beginning(table, old)
        super().rename_column(table, old, new)

    def drop_beginning(self, table: str, column: str) -> None:
        """Remove the generated column that holds the beginning of a text, where there is one."""
        self.run(f"ALTER TABLE {quote(table)} DROP COLUMN IF EXISTS {quote(beginning_of(column))}")

    def column_type(self, table: str, column: Column) -> str:
        """Return the type of a column."""
        if column.type == "int":
            return "BIGINT"
        declared = self.manifest.tables.get(table)
        indexed = declared is not None and any(column.name in index.columns for index in declared.indexes)
        limit = _LONGEST_KEY if indexed else _SHORT
        return f"VARCHAR({column.max_length})" if 0 < column.max_length <= limit else "LONGTEXT"

    def widen(self, table: str, column: Column) -> None:
        """Give a column the type that its declaration asks for, and indexes what is now too long for them in part."""
        declared = self.manifest.tables[table]
        cut = [index for index in declared.indexes if column.name in self._long(declared, index)]
        for index in cut:
            self.drop_index(table, server_name(index_name(table, index)))
        self._modify(table, column)
        for index in cut:
            self.create_index(table, index)

    def _modify(self, table: str, column: Column) -> None:
        self.run(f"ALTER TABLE {quote(table)} MODIFY COLUMN {self.column(table, column)}")

    def search_by(self, table: str, searched: Sequence[SearchedColumn]) -> None:
        """Do nothing: MariaDB has no index over parts of words."""

    def index_names(self) -> set[str]:
        """Return the names of all indexes."""
        question = "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()"
        return {str(name) for (name,) in self.ask(question, ())}

    def rebuild_indexes(self, table: Table) -> None:
        """Create the indexes that are missing, and write the table anew with all of them."""
        for index in table.indexes:
            self.create_index(table.name, index)
        self.run(f"ALTER TABLE {quote(table.name)} FORCE")

    def finish(self) -> None:
        """Do nothing: the storage looks at references itself."""

    @property
    def here(self) -> str:
        """The expression for the database at hand."""
        return "DATABASE()"

    def _key(self, table: Table, index: Index) -> str:
        """Return name and parts of an index.

        A plain one holds the beginning of a long text, as a column of its own: rows can be read in the order of that,
        but not of a prefix in an index. A unique one over long text is kept by MariaDB as a hash of the
        whole, so that it is exact.
        """
        long = self._long(table, index)
        parts = [quote(beginning_of(name) if name in long else name) for name in index.columns]
        return f"{quote(server_name(index_name(table.name, index)))} ({', '.join(parts)})"

    @staticmethod
    def _long(table: Table, index: Index) -> frozenset[str]:
        return frozenset() if index.unique else long_columns(table, index, MARIADB.index_bytes)

    def _is_longtext(self, table: str, column: str) -> bool:
        question = (
            "SELECT data_type FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = %s AND column_name = %s"
        )
        return self.ask(question, (table, column)) == [("longtext",)]


def _beginning(column: str) -> str:
    """Return the generated column that holds the beginning of a text; who selects all columns does not see it.

    It is stored: by an index over a virtual column MariaDB 10.11 finds no row that a transaction under way has changed,
    neither there nor for others, to whom it should show what it was.
    """
    name = quote(beginning_of(column))
    return f"{name} VARCHAR({PREFIX}) AS (left({quote(column)}, {PREFIX})) STORED INVISIBLE"
