"""The storage-neutral schema: tables, columns, indexes, the manifest a storage keeps, and the changes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Final, Literal

import attrs

ColumnType = Literal["int", "text"]
Meaning = Literal["", "moment", "day", "money", "decimal"]
"""What the integers of a column stand for: microseconds since 1970 (UTC), days since 1970, minor or scaled units."""
Primitive = int | str | None
"""What a storage keeps in a cell: a signed 64-bit integer, text, or nothing."""
Row = tuple[Primitive, ...]

SYSTEM_COLUMNS: Final = ("id", "version", "created_tx", "updated_tx")
SCHEMA_VERSION: Final = 2
"""Raised when the kernel's own tables change in a way an older kernel must not write to."""


@attrs.frozen
class Column:
    """One column: `max_length` counts characters of text (0: unlimited); `owner` is the distribution that declares it.

    `references` is the table whose `id` it holds; a storage may enforce it, at commit. `meaning` (and `scale`, digits
    after the point of a decimal) lets a storage show people more than integers.
    """

    name: str
    type: ColumnType
    nullable: bool = True
    max_length: int = 0
    owner: str = "crm-core"
    was: str = ""
    references: str = ""
    meaning: Meaning = ""
    scale: int = 0


@attrs.frozen
class Index:
    """An index over columns of its table, in order."""

    columns: tuple[str, ...]
    unique: bool = False

    @property
    def suffix(self) -> str:
        """The part of the index's name that tells it from others of its table."""
        return "_".join(self.columns)


@attrs.frozen
class SearchedColumn:
    """A column of text keys by whose parts records are found; `owner` is the column with their ids in the same row."""

    column: str
    owner: str = "id"


@attrs.frozen
class Table:
    """One table: the first column is its integer primary key `id`."""

    name: str
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()
    owner: str = "crm-core"
    searched: tuple[SearchedColumn, ...] = ()

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)


@attrs.frozen
class Manifest:
    """What a storage says it holds: the tables, and the version of each distribution that declares part of them."""

    tables: Mapping[str, Table]
    owners: Mapping[str, str]
    version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain JSON data."""
        return {
            "version": self.version,
            "owners": dict(sorted(self.owners.items())),
            "tables": [attrs.asdict(table) for _, table in sorted(self.tables.items())],
        }

    @staticmethod
    @lru_cache(maxsize=8)
    def from_text(text: str) -> Manifest:
        """Read back what `to_json` wrote, as JSON text; a text that was read before is not parsed again.

        Raises:
            ValueError, KeyError, TypeError: the text is not that.
        """
        return Manifest.from_json(json.loads(text))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Read back what `to_json` wrote."""
        return cls(
            tables={table["name"]: _table_from_json(table) for table in data["tables"]},
            owners=dict(data["owners"]),
            version=data["version"],
        )


@attrs.frozen
class AddType:
    """Create a table with its columns and indexes."""

    table: Table


@attrs.frozen
class AddField:
    """Add a nullable column to a table."""

    table: str
    column: Column


@attrs.frozen
class AddIndex:
    """Create an index."""

    table: str
    index: Index


@attrs.frozen
class DropIndex:
    """Remove an index that no declaration asks for any more."""

    table: str
    index: Index


@attrs.frozen
class Widen:
    """Allow longer text in a column."""

    table: str
    column: Column


@attrs.frozen
class Relax:
    """Allow NULL in a column."""

    table: str
    column: Column


@attrs.frozen
class Rename:
    """Give a column its new name; what it holds stays."""

    table: str
    old: str
    column: Column


@attrs.frozen
class Search:
    """Let records be found by these texts of a table, and no others of it; storages without `search` pass over it."""

    table: str
    searched: tuple[SearchedColumn, ...]


@attrs.frozen
class Drop:
    """Remove a column or (column is empty) a whole table; only a purge asks for it."""

    table: str
    column: str = ""


SchemaChange = AddType | AddField | AddIndex | DropIndex | Widen | Relax | Rename | Search | Drop


def _table_from_json(data: Mapping[str, Any]) -> Table:
    return Table(
        name=data["name"],
        columns=tuple(Column(**column) for column in data["columns"]),
        indexes=tuple(Index(tuple(index["columns"]), index["unique"]) for index in data["indexes"]),
        owner=data["owner"],
        searched=tuple(SearchedColumn(**one) for one in data.get("searched", ())),
    )
