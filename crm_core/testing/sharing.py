"""The part of the storage kit about several at once and one after the other: threads, handles, and opening again."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import attrs
import pytest

from crm_core.errors import DuplicateKey, StorageConflict
from crm_core.extend.storage import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import Compare
from crm_core.records.schema import Column, Drop, Manifest
from crm_core.testing.steps import elsewhere, fill, ids, write
from crm_core.testing.tables import MANIFEST, THINGS, cell, thing

_COLUMNS = THINGS.column_names


class SharingContract:
    """What a storage promises to all who have it open, now or later; see `StorageContract`."""

    durable: ClassVar[bool] = True
    """Whether what was committed is there after closing and opening again."""

    @abstractmethod
    def open(self, path: Path) -> Storage:
        """Open the storage that lives in or under `path`: an empty one at first, later the same again."""

    def test_no_update_is_lost_between_threads(self, storage: Storage) -> None:
        fill(storage, [thing(1, size=0)])

        together = Barrier(4, timeout=60)

        def increment() -> None:
            stale, first = [1], True
            while stale:
                (row,) = storage.get_many("things", [1])
                # All four write on the basis of one version; left to chance, threads of one process seldom meet.
                if first:
                    together.wait()
                    first = False
                updates = [Update(1, int(str(row[1])), {"size": int(str(cell(row, "size"))) + 1})]
                stale = write(storage, partial(storage.update_if_version, "things", updates))

        with ThreadPoolExecutor(4) as threads:
            for _ in range(25):
                for future in [threads.submit(increment) for _ in range(4)]:
                    future.result()
        assert [thing(1, version=101, size=100)] == storage.find("things")

    def test_a_lock_keeps_others_from_deciding_by_what_is_about_to_change(self, storage: Storage) -> None:
        fill(storage, [thing(1, size=10)])
        together = Barrier(4, timeout=60)

        def take(amount: int) -> bool:
            together.wait()
            storage.begin()
            storage.lock("things", [1])
            ((version, size),) = storage.find("things", columns=["version", "size"])
            assert isinstance(version, int)
            assert isinstance(size, int)
            if size >= amount:
                assert [] == storage.update_if_version("things", [Update(1, version, {"size": size - amount})])
            storage.commit()
            return size >= amount

        with ThreadPoolExecutor(4) as threads:
            taken = list(threads.map(take, [4, 4, 4, 4]))
        assert 2 == taken.count(True)
        assert [(2,)] == storage.find("things", columns=["size"])

    def test_two_handles_see_what_each_other_commits(self, tmp_path: Path) -> None:
        first, second = self._two_handles(tmp_path)
        fill(first, [thing(1, code="a")])
        assert [1] == ids(second)
        fill(second, [thing(2, code="b")])
        assert [1, 2] == ids(first)
        for taken in (thing(2), thing(3, code="b")):
            with pytest.raises(DuplicateKey):
                fill(first, [taken])
        write(second, lambda: second.delete("things", [(2, 1)]))
        fill(first, [thing(2, code="b", size=7)])
        assert ([2], 2) == (ids(second, Compare("size", "=", 7)), second.count("things"))
        second.begin()
        second.insert_many("things", _COLUMNS, [thing(4)])
        assert [1, 2] == elsewhere(lambda: ids(first))
        second.commit()
        assert [1, 2, 4] == ids(first)
        positions = [write(one, partial(_linked, one, id_)) for id_, one in enumerate((first, second, first), 1)]
        assert [1, 2, 3] == positions
        assert "link 3" == second.link_before(4)
        first.close()
        fill(second, [thing(5)])
        assert [1, 2, 4, 5] == ids(second)
        second.close()

    def test_no_update_is_lost_between_two_handles(self, tmp_path: Path) -> None:
        first, second = self._two_handles(tmp_path)
        fill(first, [thing(1, size=0), thing(2)])
        assert [] == write(second, lambda: second.update_if_version("things", [Update(1, 1, {"size": 1})]))
        assert [1] == write(first, lambda: first.update_if_version("things", [Update(1, 1, {"size": 2})]))
        assert [thing(1, version=2, size=1)] == first.get_many("things", [1])
        # Now the second writes on the basis of the same version while the first has not committed yet: it waits and
        # is stale then, or one of the two gives way.
        with ThreadPoolExecutor(1) as thread:
            first.begin()
            assert [] == first.update_if_version("things", [Update(1, 2, {"size": 10})])
            other = thread.submit(_took, second, Update(1, 2, {"size": 20}))
            wait([other], 0.3)
            try:
                first.commit()
            except StorageConflict:
                first.rollback()
                assert other.result()
                assert [thing(1, version=3, size=20)] == first.get_many("things", [1])
            else:
                assert not other.result()
                assert [thing(1, version=3, size=10)] == first.get_many("things", [1])
        assert first.find("things") == second.find("things")
        first.close()
        second.close()

    def test_what_was_committed_is_there_after_reopening(self, tmp_path: Path) -> None:
        self._durable_or_skip()
        storage = self.open(tmp_path)
        upgrade(storage, MANIFEST)
        fill(storage, [thing(1, name="kept")])
        storage.begin()
        storage.insert_many("things", _COLUMNS, [thing(2)])
        storage.close()
        storage.close()
        again = self.open(tmp_path)
        assert MANIFEST == again.schema()
        upgrade(again, MANIFEST)
        assert [thing(1, name="kept")] == again.find("things")
        again.close()

    def test_every_kind_of_write_outlives_a_reopening(self, tmp_path: Path) -> None:
        self._durable_or_skip()
        storage = self.open(tmp_path)
        upgrade(storage, MANIFEST)
        fill(storage, [thing(n, code=str(n), size=n) for n in range(1, 7)])
        write(storage, lambda: storage.update_if_version("things", [Update(2, 1, {"code": "changed", "size": None})]))
        assert [] == write(storage, lambda: storage.delete("things", [(3, 1), (5, 1)]))
        write(storage, lambda: storage.put_many("things", _COLUMNS, [thing(4, code="put"), thing(7, code="3")]))
        write(storage, lambda: _linked(storage, 1))
        kept = [thing(1, code="1", size=1), thing(2, version=2, code="changed"), thing(4, code="put")]
        kept += [thing(6, code="6", size=6), thing(7, code="3")]
        for _ in range(2):  # the second time, nothing was written in between
            assert kept == storage.find("things")
            storage.close()
            storage = self.open(tmp_path)
            upgrade(storage, MANIFEST)
        assert kept == storage.find("things") == sorted(storage.get_many("things", range(1, 9)), key=str)
        assert (5, 0) == (storage.count("things"), storage.count("things", Compare("code", "=", "5")))
        assert [7] == ids(storage, Compare("code", "=", "3"))
        assert ("link 1", 2) == (storage.link_before(2), write(storage, lambda: _linked(storage, 2)))
        fill(storage, [thing(3), thing(5, code="5")])  # what was deleted holds neither its id nor its code
        assert list(range(1, 8)) == ids(storage)
        storage.close()

    def test_a_change_of_the_schema_outlives_a_reopening(self, tmp_path: Path) -> None:
        self._durable_or_skip()
        storage = self.open(tmp_path)
        upgrade(storage, MANIFEST)
        fill(storage, [thing(1, name="n", size=3)])
        added = attrs.evolve(THINGS, columns=(*THINGS.columns, Column("weight", "int")), indexes=THINGS.indexes[:1])
        purged = attrs.evolve(THINGS, columns=THINGS.columns[:-1], indexes=THINGS.indexes[:1])
        for table, row in ((added, (*thing(1, name="n", size=3), None)), (purged, thing(1, name="n", size=3)[:-1])):
            wanted = Manifest({**MANIFEST.tables, "things": table}, MANIFEST.owners)
            if table is purged:
                storage.apply([Drop("things", "weight"), Drop("things", "group")], wanted)
            else:
                upgrade(storage, wanted)
            storage.close()  # nothing else was written
            storage = self.open(tmp_path)
            assert wanted == storage.schema()
            storage.use(wanted)
            assert [row] == storage.find("things")
        storage.close()

    def _durable_or_skip(self) -> None:
        if not self.durable:
            pytest.skip("NOT RUN: this storage keeps nothing when it closes")

    def _two_handles(self, path: Path) -> tuple[Storage, Storage]:
        """Open the same storage twice, which one that declares `concurrent` must bear."""
        first = self.open(path)
        if "concurrent" not in first.capabilities:
            first.close()
            pytest.skip("NOT RUN: this storage does not declare the capability 'concurrent'")
        upgrade(first, MANIFEST)
        second = self.open(path)
        assert MANIFEST == second.schema()
        upgrade(second, MANIFEST)
        return first, second


def _linked(storage: Storage, id_: int) -> int:
    return storage.append_linked(["id", "notes"], (id_, "n"), lambda position, _: f"link {position}")


def _took(storage: Storage, update: Update) -> bool:
    """Try an update in a transaction of its own; return whether it was taken."""
    try:
        return not write(storage, lambda: storage.update_if_version("things", [update]))
    except StorageConflict:
        return False
