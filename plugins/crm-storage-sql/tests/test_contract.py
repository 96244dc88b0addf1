from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from crm_core.errors import DuplicateKey
from crm_core.extend import Storage
from crm_core.testing import StorageContract
from crm_core.testing.tables import MANIFEST, thing
from crm_storage_sql.plugin import open_mariadb, open_postgresql, open_sqlite
from crm_storage_sql.room import SqlStorage
from tests.databases import drop_all, new_url


@pytest.fixture(autouse=True, scope="module")
def databases() -> Iterator[None]:
    yield
    drop_all()


@pytest.mark.database("sqlite")
class TestSqlite(StorageContract):
    def open(self, path: Path) -> Storage:
        return open_sqlite(f"sqlite:///{path}/crm.db", {})


class OnServer(StorageContract):
    """A database of its own for each path; one whose tables are those of the kit is emptied and used again.

    Creating and dropping tables takes MariaDB a second, which each test and each walk would pay.
    """

    database: ClassVar[str]
    opener: ClassVar[Callable[[str, Mapping[str, Any]], Storage]]
    free: ClassVar[list[str]]
    used: dict[Path, tuple[str, Storage]]

    @pytest.fixture(autouse=True)
    def given_back(self) -> Iterator[None]:
        self.used = {}
        yield
        for path in list(self.used):
            self.give_back(path)

    def open(self, path: Path) -> Storage:
        url = self.used[path][0] if path in self.used else self.free_url(path)
        storage = type(self).opener(url, {})
        self.used[path] = (url, storage)
        return storage

    def free_url(self, path: Path) -> str:
        for other, (_, storage) in list(self.used.items()):
            if isinstance(storage, SqlStorage) and storage._closed:
                self.give_back(other)
        return self.free.pop() if self.free else new_url(self.database, path)

    def give_back(self, path: Path) -> None:
        url, storage = self.used.pop(path)
        storage.close()
        storage = type(self).opener(url, {})
        assert isinstance(storage, SqlStorage)
        if storage.schema() == MANIFEST:
            storage.begin()
            for table in MANIFEST.tables:
                storage._session().run(f"DELETE FROM {table}")
            storage.commit()
            self.free.append(url)
        storage.close()

    def test_an_empty_storage_has_no_manifest(self, tmp_path: Path) -> None:
        # Not by the kit's way to open, which hands out tables that are there already.
        storage = type(self).opener(new_url(self.database, tmp_path), {})
        assert None is storage.schema()
        storage.close()


@pytest.mark.database("postgresql")
class TestPostgresql(OnServer):
    database = "postgresql"
    opener = staticmethod(open_postgresql)
    free: ClassVar[list[str]] = []

    def test_a_write_succeeds_after_several_that_failed(self, storage: Storage) -> None:
        for _ in range(3):
            storage.begin()
            with pytest.raises(DuplicateKey):
                storage.insert_many("things", MANIFEST.tables["things"].column_names, [thing(1), thing(1), thing(2)])
            storage.rollback()
        storage.begin()
        storage.insert_many("things", MANIFEST.tables["things"].column_names, [thing(1)])
        storage.commit()


@pytest.mark.database("mariadb")
class TestMariadb(OnServer):
    database = "mariadb"
    opener = staticmethod(open_mariadb)
    free: ClassVar[list[str]] = []
