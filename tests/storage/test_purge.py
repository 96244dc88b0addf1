from __future__ import annotations

import pytest

from crm_core.errors import StorageError, StorageLocked
from crm_core.ledger.evolution import upgrade
from crm_core.ledger.purge import purge
from crm_core.ledger.tables import LEDGER_TABLES
from crm_core.memory import MemoryStorage
from crm_core.records.schema import Column, Manifest, Table

SYSTEM = tuple(Column(name, "int", nullable=False) for name in ("id", "version", "created_tx", "updated_tx"))
ENTRIES = Table("x_entries", SYSTEM, (), "crm-x")


@pytest.fixture
def storage() -> MemoryStorage:
    made = MemoryStorage()
    tables = {table.name: table for table in (ENTRIES, *LEDGER_TABLES)}
    upgrade(made, Manifest(tables, {"crm-core": "1.0", "crm-x": "1.0"}))
    return made


def failing(error: StorageError) -> object:
    def call(*arguments: object) -> int:
        raise error

    return call


def test_what_a_purge_that_was_cut_off_has_removed_already_is_nothing(
    storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "count", failing(StorageError("there is no table x_entries")))
    assert {"x_entries": 0} == purge(storage, "crm-x", "x").tables
    left = storage.schema()
    assert left is not None
    assert "x_entries" not in left.tables


@pytest.mark.parametrize("both", [True, False])
def test_a_database_that_is_away_or_in_use_is_not_taken_for_an_empty_one(
    storage: MemoryStorage, both: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = StorageError("the connection was lost") if both else StorageLocked("another writer")
    schema = storage.schema()

    def count(*arguments: object) -> int:
        if both:
            monkeypatch.setattr(storage, "schema", failing(error))
        raise error

    monkeypatch.setattr(storage, "count", count)
    with pytest.raises(type(error), match=error.message):
        purge(storage, "crm-x", "x", dry_run=True)
    monkeypatch.undo()
    assert schema == storage.schema()
