"""The part of the storage kit about what is large: of many rows none is cut off, no number is past 64 bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

import pytest

from crm_core.errors import NumberTooLarge
from crm_core.extend.storage import Storage, Update
from crm_core.query.ast import Compare, In, Remainder
from crm_core.query.predicate import remainder
from crm_core.records.schema import Row
from crm_core.testing.steps import fill, ids, row_id, write
from crm_core.testing.tables import LARGEST, PARTS, THINGS, thing

T = TypeVar("T")
_COLUMNS: Final = THINGS.column_names
MANY: Final = 66_001
"""More than 1,000, 10,000, 32,766 and 65,536, at which drivers, pages and habits cut; small rows, so that it is soon
done."""
_SOME: Final = 2_001
"""Rows of one call where some databases take each by a statement of its own."""


class VolumeContract:
    """What a storage promises however many rows there are; see `StorageContract`."""

    def test_nothing_is_cut_however_many_rows_there_are(self, storage: Storage) -> None:
        rows: list[Row] = [(n, 1, 1, 1, n % 3, None) for n in range(1, MANY + 1)]
        numbers = [row_id(row) for row in rows]
        write(storage, lambda: storage.insert_many("parts", PARTS.column_names, rows))
        assert MANY == storage.count("parts") == storage.count("parts", Compare("id", ">", 0))
        assert rows == storage.find("parts")
        assert rows == sorted(storage.get_many("parts", numbers), key=row_id)
        assert [(n,) for n in numbers] == storage.find("parts", In("id", tuple(numbers)), columns=["id"])
        in_batches = list(storage.scan("parts", ["id"]))
        assert [10_000] * (MANY // 10_000) + [MANY % 10_000] == [len(batch) for batch in in_batches]
        for batches in (in_batches, list(storage.scan("parts", ["id"], batch=MANY))):
            assert numbers == [row_id(row) for batch in batches for row in batch]
        assert 1 == len(batches)

    def test_many_are_changed_and_deleted_in_one_transaction(self, storage: Storage) -> None:
        rows: list[Row] = [(n, 1, 1, 1, 0, None) for n in range(1, _SOME + 1)]
        write(storage, lambda: storage.insert_many("parts", PARTS.column_names, rows))
        updates = [Update(row_id(row), 1, {"thing_id": 1}) for row in rows]
        assert [] == write(storage, lambda: storage.update_if_version("parts", updates))
        assert _SOME == storage.count("parts", Compare("thing_id", "=", 1))
        assert [] == write(storage, lambda: storage.delete("parts", [(row_id(row), 2) for row in rows]))
        assert 0 == storage.count("parts")

    def test_a_number_beyond_64_bits_is_nowhere_and_is_not_taken(self, storage: Storage) -> None:
        fill(storage, [thing(1, size=-LARGEST - 1), thing(2, size=LARGEST)])
        for beyond, above, below in ((LARGEST + 1, [], [1, 2]), (-LARGEST - 2, [1, 2], []), (2**70, [], [1, 2])):
            for one in (Compare("size", "=", beyond), In("size", (beyond,)), Compare("id", "=", beyond)):
                assert ([], 0) == (ids(storage, one), storage.count("things", one))
            assert [1] == ids(storage, In("id", (1, beyond)))
            assert [1, 2] == ids(storage, Compare("size", "!=", beyond))
            assert above == ids(storage, Compare("size", ">", beyond)) == ids(storage, Compare("size", ">=", beyond))
            assert below == ids(storage, Compare("size", "<", beyond)) == ids(storage, Compare("size", "<=", beyond))
            assert above == [row[0] for row in storage.find("things", after=[beyond])]
            assert [] == storage.get_many("things", [beyond])
            assert [2] == [row[0] for row in storage.get_many("things", [beyond, 2])]
            updates = [Update(1, 1, {"name": "n"}), Update(beyond, 1, {"name": "n"}), Update(2, beyond, {})]
            assert [beyond, 2] == _tried(storage, partial(storage.update_if_version, "things", updates))
            assert [beyond, 2] == _tried(storage, partial(storage.delete, "things", [(beyond, 1), (1, 1), (2, beyond)]))
            actions: list[Callable[[], object]] = [
                partial(storage.insert_many, "things", _COLUMNS, [thing(3, size=beyond)]),
                partial(storage.insert_many, "things", _COLUMNS, [thing(n, size=beyond) for n in range(3, 30)]),
                partial(storage.put_many, "things", _COLUMNS, [thing(1, size=beyond)]),
                partial(storage.update_if_version, "things", [Update(1, 1, {"size": beyond})]),
            ]
            for action in actions:
                with pytest.raises(NumberTooLarge):
                    write(storage, action)
        assert [thing(1, size=-LARGEST - 1), thing(2, size=LARGEST)] == storage.find("things")

    def test_a_remainder_has_the_sign_of_its_number(self, storage: Storage) -> None:
        sizes = dict(enumerate([-LARGEST - 1, -7, -3, -1, 0, 1, 3, 7, LARGEST], 1))
        fill(storage, [*(thing(n, size=size) for n, size in sizes.items()), thing(99)])
        for modulus in (2, 3, 10):
            for rest in range(1 - modulus, modulus):
                expected = [n for n, size in sizes.items() if remainder(size, modulus) == rest]
                assert (modulus, rest, expected) == (modulus, rest, ids(storage, Remainder("size", modulus, rest)))


def _tried(storage: Storage, action: Callable[[], T]) -> T:
    """Return what a write answers, and take it back."""
    storage.begin()
    try:
        return action()
    finally:
        storage.rollback()
