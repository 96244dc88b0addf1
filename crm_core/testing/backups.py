"""The part of the storage kit about backups: a storage's own copies, and rows that come from any other storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Final

import attrs
import pytest

from crm_core.errors import DuplicateKey, StorageConflict, StorageError
from crm_core.extend.storage import Storage, TableRows
from crm_core.ledger.evolution import upgrade
from crm_core.memory import MemoryStorage
from crm_core.records.schema import Column, Index, Manifest, Row, Table
from crm_core.testing.steps import elsewhere, fill, ids, write
from crm_core.testing.tables import AWKWARD_NUMBERS, AWKWARD_TEXTS, MANIFEST, PARTS, THINGS, thing
from crm_core.upkeep.portable import fill_from, read_portable, snapshot, write_portable

_COLUMNS: Final = THINGS.column_names
_NOTES: Final = Table("notes", (*PARTS.columns[:4], Column("thing_id", "int", references="things")))
OTHER: Final = Manifest(
    {
        **{name: table for name, table in MANIFEST.tables.items() if name != "parts"},
        "things": attrs.evolve(
            THINGS, columns=(*THINGS.columns, Column("colour", "text")), indexes=(*THINGS.indexes, Index(("colour",)))
        ),
        "notes": _NOTES,
    },
    {"crm-core": "0.9"},
)
"""What an older backup may hold: a table less, another one and another column."""


class BackupContract:
    """What a storage promises of copies and of rows that replace all it holds; see `StorageContract`."""

    def test_a_backup_is_of_one_moment_and_is_put_back_whole(self, storage: Storage, tmp_path: Path) -> None:
        if "backup" not in storage.capabilities:
            for call in (storage.backup, storage.opened_backup, storage.restore):
                with pytest.raises(NotImplementedError):
                    call(tmp_path / "copy")
            return
        fill(storage, [thing(n, name=text) for n, text in enumerate(AWKWARD_TEXTS, 1)])
        expected = storage.find("things")
        storage.begin()
        storage.insert_many("things", _COLUMNS, [thing(1000, name="uncommitted")])
        elsewhere(lambda: storage.backup(tmp_path / "copy"))
        storage.commit()
        write(storage, lambda: storage.delete("things", [(1, 1)]))
        inside = storage.opened_backup(tmp_path / "copy")
        assert storage.schema() == inside.schema()
        assert expected == inside.find("things")
        write(inside, lambda: inside.put_many("things", _COLUMNS, [thing(2000, name="noted in the copy")]))
        inside.close()
        storage.restore(tmp_path / "copy")
        assert [*expected, thing(2000, name="noted in the copy")] == storage.find("things")
        fill(storage, [thing(3000)])
        assert len(expected) + 2 == elsewhere(lambda: storage.count("things"))

    def test_what_is_no_backup_is_not_restored(self, storage: Storage, tmp_path: Path) -> None:
        if "backup" not in storage.capabilities:
            return
        fill(storage, [thing(1)])
        (tmp_path / "copy").write_bytes(b"no copy of anything\n" * 1000)
        with pytest.raises(StorageError):
            storage.restore(tmp_path / "copy")
        assert [1] == ids(storage)

    def test_rows_take_the_place_of_everything(self, storage: Storage) -> None:
        if "replace" not in storage.capabilities:
            with pytest.raises(NotImplementedError):
                storage.replace(OTHER, [])
            return
        fill(storage, [thing(7, code="old")])
        columns = ("colour", *_COLUMNS)
        rows: list[Row] = [(text, *thing(n, name=text)) for n, text in enumerate(AWKWARD_TEXTS, 1)]
        rows += [(None, *thing(n, size=number, code=str(n))) for n, number in enumerate(AWKWARD_NUMBERS, 100)]
        storage.replace(
            OTHER,
            [
                TableRows("notes", _NOTES.column_names, [[(1, 1, 1, 1, 100)]]),  # points at a row that comes later
                TableRows("things", columns, [rows[:3], [], rows[3:]]),
            ],
        )
        assert OTHER == storage.schema() == elsewhere(storage.schema)
        assert (
            [(*row[1:], row[0]) for row in rows] == storage.find("things") == elsewhere(lambda: storage.find("things"))
        )
        assert [(1, 1, 1, 1, 100)] == storage.find("notes")
        assert 0 == storage.count("ledger_transactions")
        with pytest.raises(StorageError):
            storage.find("parts")
        with pytest.raises(DuplicateKey) as error:
            write(storage, lambda: storage.insert_many("things", _COLUMNS, [thing(1000, code="100")]))
        assert ("things", ("code",)) == (error.value.table, error.value.columns)
        assert 1 == write(storage, lambda: storage.append_ledger(["id", "notes"], (1, "n")))
        assert storage.check() in ([], None)
        upgrade(storage, MANIFEST)  # the older schema goes on as any other
        fill(storage, [thing(1000)])

    def test_rows_that_end_in_an_error_change_nothing(self, storage: Storage) -> None:
        if "replace" not in storage.capabilities:
            return
        fill(storage, [thing(1, name="kept")])

        def broken() -> Iterator[Sequence[Row]]:
            yield [thing(2)]
            raise StorageError("the file ends here")

        def twice() -> Iterator[Sequence[Row]]:
            yield [thing(2, code="a")]
            yield [thing(3, code="a")]

        for batches, expected in ((broken, StorageError), (twice, DuplicateKey)):
            with pytest.raises(expected):
                storage.replace(OTHER, [TableRows("things", _COLUMNS, batches())])
            assert MANIFEST == storage.schema()
            assert [thing(1, name="kept")] == storage.find("things")
        storage.begin()
        with pytest.raises(StorageError):
            storage.replace(MANIFEST, [])
        storage.rollback()
        fill(storage, [thing(2)])

    @pytest.mark.parametrize("when", ["before", "on the way"])
    def test_a_snapshot_never_mixes_what_was_replaced_with_what_came(self, storage: Storage, when: str) -> None:
        if "replace" not in storage.capabilities:
            return
        fill(storage, [thing(1, name="before")])
        write(storage, lambda: storage.insert_many("parts", PARTS.column_names, [(1, 1, 1, 1, 1, "before")]))
        on_the_way, taken = Event(), Event()

        def things() -> Iterator[Sequence[Row]]:
            on_the_way.set()
            taken.wait(0.5)  # or whoever takes a snapshot waits for this
            yield [thing(2, name="after")]

        after = [TableRows("parts", PARTS.column_names, [[(2, 1, 1, 1, 2, "after")]])]
        after.append(TableRows("things", _COLUMNS, things()))
        with ThreadPoolExecutor(1) as thread:
            if when == "before":
                storage.begin(write=False)
            replaced = thread.submit(storage.replace, MANIFEST, after)
            if when == "on the way":
                on_the_way.wait()
                storage.begin(write=False)
            taken.set()
            wait([replaced], 0.5)  # or it waits for the snapshot
            try:
                found = [storage.find("things", columns=["name"]), storage.find("parts", columns=["label"])]
                assert found in ([[("before",)]] * 2, [[("after",)]] * 2)
            except StorageConflict:
                pass
            storage.rollback()
            replaced.result()
        assert [("after",)] == storage.find("things", columns=["name"])
        assert [("after",)] == storage.find("parts", columns=["label"])

    def test_a_portable_backup_is_of_one_moment_and_goes_to_another_storage_and_back(
        self, storage: Storage, tmp_path: Path
    ) -> None:
        rows = [thing(n, name=text, group=text) for n, text in enumerate(AWKWARD_TEXTS, 1)]
        rows += [thing(n, size=number) for n, number in enumerate(AWKWARD_NUMBERS, 100)]
        fill(storage, rows)
        write(storage, lambda: storage.append_ledger(["id", "notes"], (5, None)))
        first, second, other = tmp_path / "first", tmp_path / "second", MemoryStorage()
        with snapshot(storage):
            elsewhere(lambda: fill(storage, [thing(5000)]))
            held = write_portable(storage, first)
        assert (len(rows), 1) == (held.rows["things"], held.position)
        with first.open("rb") as source:
            assert held == read_portable(source, first)
            source.seek(0)
            fill_from(source, other, lambda table, rows: rows)
        assert rows == other.find("things")
        with snapshot(other):
            assert held == write_portable(other, second)
        assert first.read_bytes() == second.read_bytes()
        with second.open("rb") as source:
            if "replace" not in storage.capabilities:
                with pytest.raises(NotImplementedError):
                    fill_from(source, storage, lambda table, rows: rows)
                return
            fill_from(source, storage, lambda table, rows: rows)
        assert (MANIFEST, rows) == (storage.schema(), storage.find("things"))
        other.close()
