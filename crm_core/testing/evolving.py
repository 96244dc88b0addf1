"""The part of the storage kit about schemas that change: rows keep what they hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core.errors import DuplicateKey, NewerDatabase, StorageError
from crm_core.extend import DataMigration
from crm_core.extend.storage import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import Exists
from crm_core.records.schema import Column, Drop, Index, Manifest, Table
from crm_core.testing.steps import fill, ids, write
from crm_core.testing.tables import MANIFEST, THINGS, thing

_SYSTEM = ("version", "created_tx", "updated_tx")


class EvolutionContract:
    """What a storage promises of changes of its schema; see `StorageContract`."""

    @abstractmethod
    def open(self, path: Path) -> Storage:
        """Open the storage that lives in or under `path`: an empty one at first, later the same again."""

    def test_an_empty_storage_has_no_manifest(self, tmp_path: Path) -> None:
        storage = self.open(tmp_path)
        assert None is storage.schema()
        storage.close()

    def test_new_fields_are_null_and_detached_ones_keep_what_they_hold(self, storage: Storage) -> None:
        fill(storage, [thing(1, name="n")])
        wider = _with_columns(Column("loyalty__points", "int", owner="crm-loyalty"), owners={"crm-loyalty": "1.0"})
        upgrade(storage, wider)
        write(storage, lambda: storage.update_if_version("things", [Update(1, 1, {"loyalty__points": 5})]))
        assert [(*thing(1, version=2, name="n"), 5)] == storage.find("things")
        upgrade(storage, MANIFEST)
        fill(storage, [thing(2)])
        assert [(*thing(1, version=2, name="n"), 5)] == storage.get_many("things", [1])
        upgrade(storage, wider)
        assert [(5,), (None,)] == storage.find("things", columns=["loyalty__points"])
        assert storage.check_indexes() in ([], None)

    def test_a_renamed_field_keeps_what_it_holds_and_its_indexes(self, storage: Storage) -> None:
        fill(storage, [thing(1, code="a")])
        renamed = [attrs.evolve(c, name="sku", was="code") if c.name == "code" else c for c in THINGS.columns]
        table = Table("things", tuple(renamed), (Index(("sku",), unique=True), *THINGS.indexes[1:]))
        wanted = Manifest({**MANIFEST.tables, "things": table}, MANIFEST.owners)
        upgrade(storage, wanted)
        assert wanted == storage.schema()
        assert [("a",)] == storage.find("things", columns=["sku"])
        assert storage.check_indexes() in ([], None)
        with pytest.raises(DuplicateKey):
            write(storage, lambda: storage.insert_many("things", table.column_names, [thing(2, code="a")]))

    def test_rows_come_in_the_order_of_the_manifest_in_use(self, storage: Storage) -> None:
        fill(storage, [thing(1, name="n", size=3)])
        turned = attrs.evolve(THINGS, columns=(*THINGS.columns[:4], *reversed(THINGS.columns[4:])))
        upgrade(storage, Manifest({**MANIFEST.tables, "things": turned}, MANIFEST.owners))
        assert [(1, 1, 1, 1, None, 3, None, "n")] == storage.get_many("things", [1]) == storage.find("things")

    def test_a_unique_index_over_duplicates_is_refused_and_changes_nothing(self, storage: Storage) -> None:
        fill(storage, [thing(1, name="same"), thing(2, name="same")])
        unique = attrs.evolve(THINGS, indexes=(*THINGS.indexes, Index(("name",), unique=True)))
        with pytest.raises(DuplicateKey):
            upgrade(storage, Manifest({**MANIFEST.tables, "things": unique}, MANIFEST.owners))
        assert [1, 2] == ids(storage)
        fill(storage, [thing(3, name="same")])

    def test_a_purge_drops_columns_and_tables(self, storage: Storage) -> None:
        fill(storage, [thing(1, name="n", size=3)])
        narrow = attrs.evolve(
            THINGS, columns=tuple(c for c in THINGS.columns if c.name != "size"), indexes=THINGS.indexes[:1]
        )
        tables = {name: table for name, table in MANIFEST.tables.items() if name != "parts"}
        manifest = Manifest({**tables, "things": narrow}, MANIFEST.owners)
        storage.apply([Drop("things", "size"), Drop("parts")], manifest)
        storage.apply([Drop("things", "size"), Drop("parts")], manifest)
        assert manifest == storage.schema()
        assert [(1, 1, 1, 1, "n", None, None)] == storage.find("things")
        assert storage.check_indexes() in ([], None)
        with pytest.raises(StorageError):
            storage.find("parts")

    def test_what_was_purged_does_not_come_back_with_its_declaration(self, storage: Storage) -> None:
        fill(storage, [thing(1, name="n", size=3)])
        write(storage, lambda: storage.insert_many("parts", ["id", *_SYSTEM, "thing_id"], [(1, 1, 1, 1, 1)]))
        narrow = attrs.evolve(
            THINGS, columns=tuple(c for c in THINGS.columns if c.name != "size"), indexes=THINGS.indexes[:1]
        )
        tables = {name: table for name, table in MANIFEST.tables.items() if name != "parts"}
        storage.apply([Drop("things", "size"), Drop("parts")], Manifest({**tables, "things": narrow}, MANIFEST.owners))
        upgrade(storage, MANIFEST)
        assert [(1, None)] == storage.find("things", columns=["id", "size"])
        assert [] == storage.find("parts") == storage.find("things", Exists("parts", "thing_id"))
        assert storage.check_indexes() in ([], None)

    def test_a_data_migration_changes_rows_once_and_finishes_after_a_crash(self, storage: Storage) -> None:
        rows = [thing(n, size=n) for n in range(1, 2301)]
        fill(storage, rows)
        crash_at = [1500]

        def double(chunk: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
            if any(row["id"] == crash_at[0] for row in chunk):
                raise RuntimeError("killed")
            return {row["id"]: {"name": str(row["id"] * 2)} for row in chunk}

        migration = DataMigration(
            owner="crm-core", from_version="1.0", to_version="1.1", table="things", columns=("name",), change=double
        )
        wanted = attrs.evolve(MANIFEST, owners={"crm-core": "1.2"})
        with pytest.raises(RuntimeError):
            upgrade(storage, wanted, [migration])
        crash_at[0] = 0
        upgrade(storage, wanted, [migration])
        assert [thing(n, version=2, size=n, name=str(2 * n)) for n in range(1, 2301)] == storage.find("things")
        assert 0 == upgrade(storage, wanted, [migration]).rows

    def test_a_newer_database_is_refused(self, storage: Storage) -> None:
        upgrade(storage, attrs.evolve(MANIFEST, owners={"crm-core": "1.10"}))
        with pytest.raises(NewerDatabase):
            upgrade(storage, attrs.evolve(MANIFEST, owners={"crm-core": "1.9"}))


def _with_columns(*added: Column, owners: Mapping[str, str]) -> Manifest:
    table = attrs.evolve(THINGS, columns=(*THINGS.columns, *added))
    return Manifest({**MANIFEST.tables, "things": table}, {**MANIFEST.owners, **owners})
