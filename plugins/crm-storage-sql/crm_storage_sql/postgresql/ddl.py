"""Schema changes in the words of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from crm_core.records.schema import Column, Index, Manifest, Row, SearchedColumn, Table
from crm_storage_sql.dialect import POSTGRESQL, PREFIX, index_name, liked, long_columns, quote, server_name
from crm_storage_sql.room import MANIFEST
from crm_storage_sql.server_ddl import ServerDdl

_TRIGRAMS: Final = "{0}({1})~~"
_SEVERAL_WORDS: Final = "{0}({1})~ ~"
_EXTENSION: Final = (
    "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'pg_trgm'"
)
"""Asks in which schema pg_trgm is installed."""
# Who may not install it, or has no such package, gets an error, which would end the transaction but for the block. In a
# schema of ours it would go with that, and the indexes of others with it.
_INSTALL: Final = (
    "DO $$ BEGIN CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public; EXCEPTION WHEN OTHERS THEN NULL; END $$"
)


class PostgresqlDdl(ServerDdl):
    """Schema changes in the words of PostgreSQL: text compares by code point, references are checked at commit."""

    views_hold = True

    def __init__(
        self, run: Callable[[str], None], ask: Callable[[str, Sequence[Any]], list[Row]], manifest: Manifest
    ) -> None:
        """Keep statements, and send them in one way when something is asked or `flush` is called.

        A new workspace has 200 of them, and each way lasts longer than half of what the server does in it.
        """
        super().__init__(self._keep, self._ask_after, manifest)
        self._kept: list[str] = []
        self._send, self._look = run, ask

    def _keep(self, statement: str) -> None:
        self._kept.append(statement)

    def _ask_after(self, question: str, parameters: Sequence[Any]) -> list[Row]:
        self.flush()
        return self._look(question, parameters)

    def flush(self) -> None:
        """Send the statements that are kept."""
        kept, self._kept = self._kept, []
        if kept:
            self._send("; ".join(kept))

    def create_manifest_table(self) -> None:
        """Create the table of the manifest."""
        self.run(f'CREATE TABLE IF NOT EXISTS {MANIFEST} (id bigint PRIMARY KEY CHECK (id = 1), "json" text)')

    def create_table(self, table: Table) -> None:
        """Create a table with its indexes."""
        self.create_bare(table)
        self.create_indexes(table)

    def create_bare(self, table: Table) -> None:
        """Create a table with its primary key alone."""
        columns = ", ".join(self.column(table.name, column) for column in table.columns)
        self.run(f"CREATE TABLE IF NOT EXISTS {quote(table.name)} ({columns})")

    def create_indexes(self, table: Table) -> None:
        """Create the indexes of a table."""
        for index in table.indexes:
            self._create_index(table, index)

    def create_index(self, table: str, index: Index) -> None:
        """Create an index."""
        self._create_index(self.manifest.tables[table], index)

    def drop_index(self, table: str, name: str) -> None:
        """Remove an index."""
        self.run(f"DROP INDEX IF EXISTS {quote(name)}")

    def drop_table(self, table: str) -> None:
        """Remove a table and the references to it."""
        self.run(f"DROP TABLE IF EXISTS {quote(table)} CASCADE")

    def drop_column(self, table: str, column: str) -> None:
        """Remove a column; PostgreSQL takes the indexes over it with it."""
        self.run(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(column)}")

    def column_type(self, table: str, column: Column) -> str:
        """Return the type of a column."""
        return "bigint" if column.type == "int" else 'text COLLATE "C"'

    def widen(self, table: str, column: Column) -> None:
        """Do nothing: text has no limit here."""

    def search_by(self, table: str, searched: Sequence[SearchedColumn]) -> None:
        """Create a trigram index over each text, where the extension pg_trgm is or can be installed.

        Its words end at every sign, those of a search at spaces alone: for what begins a word, it has all that is
        behind a dot or an @ looked at. The texts of parts (addresses) hardly ever have a space, so those that have one
        get an index of their own, and only these are looked at.
        """
        wanted = {server_name(_TRIGRAMS.format(table, one.column)): one.column for one in searched}
        for name, whose in self._trigrams:
            if whose == table and name not in wanted:
                self.run(f"DROP INDEX IF EXISTS {quote(name)}")
        apart = {server_name(_SEVERAL_WORDS.format(table, one.column)): one for one in searched if one.owner != "id"}
        for name, whose in self._several_words:
            if whose == table and name not in apart:
                self.run(f"DROP INDEX IF EXISTS {quote(name)}")
        for name, one in apart.items():
            several = POSTGRESQL.several_words.format(quote(one.column))
            self.run(f"CREATE INDEX IF NOT EXISTS {quote(name)} ON {quote(table)} ({quote(one.owner)}) WHERE {several}")
        if wanted and self._operators:
            for name, column in wanted.items():
                self.run(
                    f"CREATE INDEX IF NOT EXISTS {quote(name)} ON {quote(table)} "
                    f"USING gin (({liked(quote(column))}) {self._operators})"
                )

    @cached_property
    def _trigrams(self) -> list[tuple[str, str]]:
        """The trigram indexes that were there at first, each with its table."""
        return trigram_indexes(self.ask)

    @cached_property
    def _several_words(self) -> list[tuple[str, str]]:
        """The indexes over texts of several words that were there at first, each with its table."""
        return several_words_indexes(self.ask)

    @cached_property
    def _operators(self) -> str:
        """The name of the operators of pg_trgm, which is installed if that may be done; empty where there are none."""
        self.run(_INSTALL)
        return next((f"{schema}.gin_trgm_ops" for (schema,) in self.ask(_EXTENSION, ())), "")

    def index_names(self) -> set[str]:
        """Return the names of all indexes that are valid."""
        found = self.ask(
            "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indisvalid "
            "AND i.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())",
            (),
        )
        return {str(name) for (name,) in found}

    def index_faults(self) -> list[str]:
        """Add those of the search: the trigram indexes where this database has any (without pg_trgm there are none)."""
        found, there = super().index_faults(), self.index_names()
        has_trigrams = bool(trigram_indexes(self.ask))
        for table in self.manifest.tables.values():
            for one in table.searched:
                where = f"{table.name} ({one.column})"
                if has_trigrams and server_name(_TRIGRAMS.format(table.name, one.column)) not in there:
                    found.append(f"the trigram index over {where} is missing")
                if one.owner != "id" and server_name(_SEVERAL_WORDS.format(table.name, one.column)) not in there:
                    found.append(f"the index over {where} of several words is missing")
        return found

    def rebuild_indexes(self, table: Table) -> None:
        """Create the indexes that are missing, of the search too, and make all others anew."""
        self.create_indexes(table)
        self.search_by(table.name, table.searched)
        self.run(f"REINDEX TABLE {quote(table.name)}")

    def finish(self) -> None:
        """Declare the references that are not declared yet, checked at commit, so that the order of writes is free."""
        there = set(
            self.ask(
                "SELECT c.relname, a.attname FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid "
                "JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1] "
                "WHERE f.contype = 'f' AND c.relnamespace = current_schema()::regnamespace",
                (),
            )
        )
        for table in self.manifest.tables.values():
            missing = [
                f"ADD FOREIGN KEY ({quote(column.name)}) REFERENCES {quote(column.references)} (id) "
                "DEFERRABLE INITIALLY DEFERRED"
                for column in table.columns
                if column.references in self.manifest.tables and (table.name, column.name) not in there
            ]
            if missing:
                self.run(f"ALTER TABLE {quote(table.name)} {', '.join(missing)}")

    @property
    def here(self) -> str:
        """The expression for the schema at hand."""
        return "current_schema()"

    def _create_index(self, table: Table, index: Index) -> None:
        """Create an index; of a long text it holds the beginning, or (unique) a digest of the whole."""
        long = long_columns(table, index, POSTGRESQL.index_bytes)
        form = "md5({0})" if index.unique else f"left({{0}}, {PREFIX})"
        parts = [f"({form.format(quote(name))})" if name in long else quote(name) for name in index.columns]
        name = quote(server_name(index_name(table.name, index)))
        unique = "UNIQUE " if index.unique else ""
        self.run(f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {quote(table.name)} ({', '.join(parts)})")


def several_words_indexes(ask: Callable[[str, Sequence[Any]], list[Row]]) -> list[tuple[str, str]]:
    """Return the names of all indexes over texts that have a space, each with its table: not what others made there."""
    found = ask(
        "SELECT i.relname, t.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
        "JOIN pg_class t ON t.oid = x.indrelid WHERE pg_get_expr(x.indpred, x.indrelid) LIKE %s "
        "AND i.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())",
        ("(strpos(%, ' '::text) > 0)",),
    )
    return [(str(name), str(table)) for name, table in found]


def trigram_indexes(ask: Callable[[str, Sequence[Any]], list[Row]]) -> list[tuple[str, str]]:
    """Return the names of all trigram indexes, each with its table."""
    # Not by the view pg_indexes: it spells out the indexes of all schemas, also of one that is being dropped.
    found = ask(
        "SELECT i.relname, t.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid "
        "JOIN pg_class t ON t.oid = x.indrelid JOIN pg_opclass o ON o.oid = x.indclass[0] "
        "WHERE i.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND o.opcname = %s",
        ("gin_trgm_ops",),
    )
    return [(str(name), str(table)) for name, table in found]
