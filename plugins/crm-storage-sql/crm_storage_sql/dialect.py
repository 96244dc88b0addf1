"""What the databases say differently in otherwise equal SQL, and how an index over long text is made.

Apart from the storages, so that filters, lists and writes are one text with a few holes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from crm_core.records.schema import Column, Index, Table

PREFIX: Final = 255
"""The characters of a long text that an index holds on a server; what differs behind them is compared in the row."""
_LONGEST_NAME: Final = 63


@attrs.frozen(kw_only=True)
class Dialect:
    """One database's forms: templates have {0} for a column, and `mark` is what stands for a parameter.

    `members` gives the right side of "column is one of" and its parameters; `splits_nulls` says that sorting NULLs last
    costs an index its order, so that a list reads the rows with a value first and those without behind them.
    `index_bytes` is the longest key of an index (0: any); `beginning` writes (from a table's alias and a column's name)
    what an index has of a long text, which conditions must name; `sorts_on` says that rows in the order of their first
    sort value are only sorted on by the others; `unindexed` has {0} for a column and takes no index; `likes` that the
    index over a searched text serves LIKE alone; `takes_nul` that text may hold the character 0; `gathered` puts the
    texts of several rows together; `several_words` has {0} for a searched text of a part (an address of a customer) and
    is true of the few that have a space, which have an index of their own; `covers` that an index over
    texts is read alone, in much less time than the rows, where nothing else of them is asked for.
    """

    name: str
    mark: str
    contains: str
    remainder: str
    nulls_last: str
    members: Callable[[Sequence[int | str], str], tuple[str, list[Any]]]
    splits_nulls: bool = True
    index_bytes: int = 0
    beginning: Callable[[str, str], str] | None = None
    sorts_on: bool = True
    unindexed: str = "{0}"
    likes: bool = False
    takes_nul: bool = True
    several_words: str = ""
    covers: bool = False
    gathered: str = "group_concat({0}, '')"


def quote(name: str) -> str:
    """Return an identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'


def liked(column: str) -> str:
    """Return of a column, in quotes, what the trigrams are of that PostgreSQL searches by LIKE.

    Not the column itself: trigrams would serve `=` too, and the server takes them where it does not know the texts when
    it plans, though of texts that are alike (addresses of one domain) they tell little: one look took 30 ms among ten
    thousand, and grows with them.
    """
    return f"{column} || ''"


def index_name(table: str, index: Index) -> str:
    """Return the name of an index: what it is over, as text that no two indexes share."""
    return f"{table}({','.join(index.columns)}){'!' * index.unique}"


def server_name(name: str) -> str:
    """Return a name that servers take: at most 63 bytes; a longer one is cut and made unique again by a hash."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: _LONGEST_NAME - 9].decode(errors='ignore')}_{digest}"


def long_columns(table: Table, index: Index, limit: int) -> frozenset[str]:
    """Return the text columns of an index that do not fit into a key of `limit` bytes whole, the longest first."""
    columns = {column.name: column for column in table.columns}
    sizes = {name: _most_bytes(columns[name]) for name in index.columns}
    found: set[str] = set()
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if sizes[name] <= 4 * PREFIX or (sizes[name] <= limit and sum(sizes.values()) <= limit):
            break
        found.add(name)
        sizes[name] = 4 * PREFIX
    return frozenset(found)


def prefixed_columns(table: Table, limit: int) -> frozenset[str]:
    """Return the columns of which some plain index of the table holds a prefix only."""
    plain = [index for index in table.indexes if not index.unique]
    return frozenset(name for index in plain for name in long_columns(table, index, limit))


def leads_index(table: Table, column: str, limit: int) -> bool:
    """Say whether the rows of a table can be read in the order of a column, or of what an index has of it.

    A unique index over a text that is too long is one over digests.
    """
    return any(
        column == index.columns[0] and not (limit and index.unique and column in long_columns(table, index, limit))
        for index in table.indexes
    )


def beginning_of(column: str) -> str:
    """Return the name of the generated column that holds the beginning of a long text, where an index needs one."""
    return server_name(f"{column}~{PREFIX}")


def _most_bytes(column: Column) -> int:
    if column.type == "int":
        return 9
    return 4 * column.max_length + 3 if column.max_length else 1 << 32


_MANY: Final = 50
"""Longer lists go as one parameter, so that the text of a statement does not depend on their length."""


def _listed(values: Sequence[int | str], mark: str) -> tuple[str, list[Any]]:
    return f"IN ({', '.join([mark] * len(values))})", list(values)


def _sqlite_members(values: Sequence[int | str], mark: str) -> tuple[str, list[Any]]:
    if len(values) > _MANY:
        return "IN (SELECT value FROM json_each(?))", [json.dumps(values, ensure_ascii=False)]
    return _listed(values, mark)


def _postgresql_members(values: Sequence[int | str], mark: str) -> tuple[str, list[Any]]:
    return _listed(values, mark) if 0 < len(values) <= _MANY else (f"= ANY({mark})", [list(values)])


def _mariadb_members(values: Sequence[int | str], mark: str) -> tuple[str, list[Any]]:
    return _listed(values, mark) if values else ("IN (NULL)", [])


SQLITE: Final = Dialect(
    name="sqlite",
    mark="?",
    contains="instr({0}, ?) > 0",
    remainder="{0} % ? = ?",
    nulls_last="{0} {1} NULLS LAST",
    members=_sqlite_members,
    splits_nulls=False,
    unindexed="+{0}",
)
POSTGRESQL: Final = Dialect(
    name="postgresql",
    mark="%s",
    contains="strpos({0}, %s) > 0",
    remainder="mod({0}, %s) = %s",
    nulls_last="{0} {1} NULLS LAST",
    members=_postgresql_members,
    index_bytes=2600,  # a third of a page less some
    beginning=lambda alias, name: f"left({alias}.{quote(name)}, {PREFIX})",
    likes=True,
    takes_nul=False,
    several_words="strpos({0}, ' ') > 0",
    gathered="string_agg({0}, '')",
)
MARIADB: Final = Dialect(
    name="mariadb",
    mark="%s",
    contains="instr({0}, %s) > 0",
    remainder="mod({0}, %s) = %s",
    nulls_last="{0} IS NULL, {0} {1}",
    members=_mariadb_members,
    index_bytes=3072,
    beginning=lambda alias, name: f"{alias}.{quote(beginning_of(name))}",
    sorts_on=False,
    covers=True,
    gathered="group_concat({0} SEPARATOR '')",
)
