"""The steps of which the tests of the storage kit are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crm_core.extend.storage import Storage
from crm_core.query.ast import Expression, SortKey
from crm_core.records.schema import Primitive, Row
from crm_core.testing.tables import THINGS

T = TypeVar("T")


def fill(storage: Storage, rows: list[Row]) -> None:
    """Insert things in a transaction of their own."""
    write(storage, lambda: storage.insert_many("things", THINGS.column_names, rows))


def write(storage: Storage, action: Callable[[], T]) -> T:
    """Run an action in a transaction of its own."""
    storage.begin()
    try:
        found = action()
        storage.commit()
    except BaseException:
        storage.rollback()
        raise
    return found


def elsewhere(action: Callable[[], T]) -> T:
    """Run an action in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(action).result()


def ids(storage: Storage, where: Expression | None = None, sort: Sequence[SortKey] = ()) -> list[Primitive]:
    """Return the ids of the things that match."""
    return [row[0] for row in storage.find("things", where, sort=sort)]


def row_id(row: Row) -> int:
    """Return the id of a row."""
    assert isinstance(row[0], int)
    return row[0]
