"""What plugins that are not at work stored, and that points at records of others: nobody else speaks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from crm_core.extend import Storage
from crm_core.query.ast import In
from crm_core.records import Registry
from crm_core.records.schema import Table


def pointing_at(stored: Mapping[str, Table], registry: Registry, target: str) -> Iterator[tuple[Table, str]]:
    """Yield each (table, column) that references the table `target` and that nobody declares any more.

    Args:
        stored: the tables as the storage keeps them.
        registry: what is declared.
        target: the table that is pointed at.
    """
    declared = {kind.plural: frozenset(kind.table.column_names) for kind in registry.types.values()}
    for table in stored.values():
        for column in table.columns:
            if column.references == target and column.name not in declared.get(table.name, ()):
                yield table, column.name


def counted(
    storage: Storage, stored: Mapping[str, Table], registry: Registry, target: str, ids: Sequence[int]
) -> dict[int, Counter[str]]:
    """Return which of these records are pointed at, and by how many rows of each table."""
    found: dict[int, Counter[str]] = {}
    for table, column in pointing_at(stored, registry, target) if ids else ():
        for (value,) in storage.find(table.name, In(column, tuple(ids)), columns=[column]):
            found.setdefault(cast(int, value), Counter())[table.name] += 1
    return found


def in_words(counts: Mapping[str, int]) -> str:
    """Say by how many rows something is pointed at."""
    told = " and ".join(f"{count:,} in {table}" for table, count in counts.items())
    return f"{told}, which a plugin that is not at work stored"
