"""The part of the storage kit about many rows: none is left out without a word."""

from __future__ import annotations

from typing import Final

from crm_core.extend.storage import Storage, Update
from crm_core.query.ast import Compare, In
from crm_core.records.schema import Row
from crm_core.testing.steps import row_id, write
from crm_core.testing.tables import PARTS

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
