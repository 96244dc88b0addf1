"""Tables, indexes and their changes as a server's DDL; each change passes over what is there already.

Columns are not declared NOT NULL, because the kernel checks records and a plugin that is detached leaves them empty.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

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
    Relax,
    Rename,
    Row,
    SchemaChange,
    Search,
    SearchedColumn,
    Table,
    Widen,
)
from crm_storage_sql.dialect import index_name, quote, server_name
from crm_storage_sql.views import PREFIX


class ServerDdl(ABC):
    """Carries out schema changes by `run`, looking at what there is by `ask`; `manifest` is where they lead.

    `views_hold` says that a view keeps what it shows from being changed.
    """

    views_hold: ClassVar[bool] = False

    def __init__(
        self, run: Callable[[str], None], ask: Callable[[str, Sequence[Any]], list[Row]], manifest: Manifest
    ) -> None:
        self.run = run
        self.ask = ask
        self.manifest = manifest

    @abstractmethod
    def create_manifest_table(self) -> None:
        """Create the table of the manifest, which marks the database as ours."""

    @abstractmethod
    def create_table(self, table: Table) -> None:
        """Create a table with its indexes."""

    @abstractmethod
    def create_index(self, table: str, index: Index) -> None:
        """Create an index."""

    @abstractmethod
    def drop_index(self, table: str, name: str) -> None:
        """Remove an index."""

    @abstractmethod
    def drop_table(self, table: str) -> None:
        """Remove a table."""

    @abstractmethod
    def drop_column(self, table: str, column: str) -> None:
        """Remove a column and the indexes over it."""

    @abstractmethod
    def column_type(self, table: str, column: Column) -> str:
        """Return the type of a column."""

    @abstractmethod
    def widen(self, table: str, column: Column) -> None:
        """Allow longer text in a column."""

    @abstractmethod
    def search_by(self, table: str, searched: Sequence[SearchedColumn]) -> None:
        """Make these texts of a table fast to search, and no others of it; do nothing where the database has no way."""

    @abstractmethod
    def index_names(self) -> set[str]:
        """Return the names of all indexes that are there and in use."""

    @abstractmethod
    def rebuild_indexes(self, table: Table) -> None:
        """Create the indexes of a table that are missing, and make all others anew."""

    @abstractmethod
    def finish(self) -> None:
        """Do what needs all tables to be there."""

    def index_faults(self) -> list[str]:
        """Return in words which declared indexes are missing, or not in use because making them was broken off."""
        there, tables = self.index_names(), set(self.tables())
        return [
            f"the {'unique ' * index.unique}index over {table.name} ({', '.join(index.columns)}) is missing"
            for table in self.manifest.tables.values()
            for index in table.indexes
            if table.name in tables and server_name(index_name(table.name, index)) not in there
        ]

    def drop_views(self, tables: Iterable[str]) -> None:
        """Remove the views of those tables."""
        if views := [quote(PREFIX + name) for name in tables]:
            self.run(f"DROP VIEW IF EXISTS {', '.join(views)}")

    def flush(self) -> None:  # noqa: B027 - most databases take each statement by itself
        """Send what `run` has kept to be sent together; `ask` does so too."""

    def carry_out(self, change: SchemaChange) -> None:
        """Make one change."""
        match change:
            case AddType(table):
                self.create_table(table)
                self.search_by(table.name, table.searched)
            case AddField(name, column):
                self.run(f"ALTER TABLE {quote(name)} ADD COLUMN IF NOT EXISTS {self.column(name, column)}")
            case AddIndex(name, index):
                self.create_index(name, index)
            case DropIndex(name, index):
                self.drop_index(name, server_name(index_name(name, index)))
            case Rename(name, old, column):
                if old in self.columns(name):
                    self.rename_column(name, old, column.name)
            case Drop(name, ""):
                self.drop_table(name)
            case Drop(name, column_name):
                if column_name in self.columns(name):
                    self.drop_column(name, column_name)
            case Widen(name, column):
                self.widen(name, column)
            case Search(name, searched):
                self.search_by(name, searched)
            case Relax():
                pass

    def column(self, table: str, column: Column) -> str:
        """Return a column as it stands in CREATE TABLE."""
        words = [quote(column.name), self.column_type(table, column)]
        if column.name == "id":
            words.append("PRIMARY KEY")
        elif column.name in SYSTEM_COLUMNS and not column.nullable:
            words.append("NOT NULL")
        return " ".join(words)

    def rename_column(self, table: str, old: str, new: str) -> None:
        """Give a column another name."""
        self.run(f"ALTER TABLE {quote(table)} RENAME COLUMN {quote(old)} TO {quote(new)}")

    def columns(self, table: str) -> list[str]:
        """Return the columns a table has now."""
        question = (
            f"SELECT column_name FROM information_schema.columns WHERE table_schema = {self.here} AND table_name = %s"
        )
        return [str(name) for (name,) in self.ask(question, (table,))]

    def tables(self) -> list[str]:
        """Return the tables that are there, whosever they are."""
        question = f"SELECT table_name FROM information_schema.tables WHERE table_schema = {self.here}"
        return [str(name) for (name,) in self.ask(f"{question} AND table_type = 'BASE TABLE'", ())]

    @property
    @abstractmethod
    def here(self) -> str:
        """The expression for the schema at hand."""


def table_of_change(change: SchemaChange) -> str:
    """Return the name of the table that a change touches."""
    return change.table.name if isinstance(change, AddType) else change.table
