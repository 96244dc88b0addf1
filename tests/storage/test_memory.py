from __future__ import annotations

import threading
from pathlib import Path

from crm_core.errors import StorageLocked
from crm_core.ledger.evolution import upgrade
from crm_core.memory import MemoryStorage
from crm_core.testing import StorageContract
from crm_core.testing.tables import MANIFEST


class TestMemory(StorageContract):
    durable = False
    is_model = True

    def open(self, path: Path) -> MemoryStorage:
        return MemoryStorage()


def test_a_writer_that_never_ends_is_named() -> None:
    storage = MemoryStorage(timeout=0.05)
    upgrade(storage, MANIFEST)
    storage.begin()
    errors: list[Exception] = []

    def begin() -> None:
        try:
            storage.begin()
        except StorageLocked as error:
            errors.append(error)

    other = threading.Thread(target=begin)
    other.start()
    other.join()
    assert ["memory: another thread has held the storage for 0.05 seconds"] == [str(error) for error in errors]
    storage.rollback()
    storage.begin()
    storage.rollback()
    storage.close()
