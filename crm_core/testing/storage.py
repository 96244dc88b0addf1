"""The contract of a storage as tests: a vendor subclasses `StorageContract`, says how to open it, and runs pytest."""

from __future__ import annotations

import itertools
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from crm_core.errors import DuplicateKey, StorageError
from crm_core.extend.storage import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import And, Compare, Contains, Exists, Expression, In, IsNull, Not, Or, Remainder, SortKey
from crm_core.records.schema import Row
from crm_core.testing.analytics import AnalyticsContract
from crm_core.testing.backups import BackupContract
from crm_core.testing.evolving import EvolutionContract
from crm_core.testing.machine import pages, storage_machine
from crm_core.testing.positions import LedgerContract
from crm_core.testing.searching import SearchContract
from crm_core.testing.sharing import SharingContract
from crm_core.testing.steps import elsewhere, fill, ids, row_id, write
from crm_core.testing.tables import (
    AWKWARD_NUMBERS,
    AWKWARD_TEXTS,
    LARGEST,
    MANIFEST,
    PARTS,
    THINGS,
    cell,
    expressions,
    sorts,
    thing,
)
from crm_core.testing.volumes import VolumeContract
from crm_core.testing.wording import TextContract

_COLUMNS = THINGS.column_names


class StorageContract(
    AnalyticsContract,
    BackupContract,
    EvolutionContract,
    LedgerContract,
    SearchContract,
    SharingContract,
    TextContract,
    VolumeContract,
    ABC,
):
    """What every storage promises. Subclass it in a test module, name the subclass `Test...`, and define `open`.

    The random walk beside the model takes `CRM_STORAGE_STEPS` steps (default 1,000).
    """

    is_model: ClassVar[bool] = False
    """Whether this is the model itself, which the random walk compares with."""

    @abstractmethod
    def open(self, path: Path) -> Storage:
        """Open the storage that lives in or under `path`: an empty one at first, later the same again."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        """Yield an open storage with the tables of the kit, and no rows."""
        opened = self.open(tmp_path)
        upgrade(opened, MANIFEST)
        yield opened
        opened.close()

    # Rows

    def test_what_is_inserted_is_read_back(self, storage: Storage) -> None:
        rows = [thing(n, name=text, group=text) for n, text in enumerate(AWKWARD_TEXTS, 1)]
        rows += [thing(n, size=number) for n, number in enumerate(AWKWARD_NUMBERS, 100)]
        write(storage, lambda: storage.insert_many("things", _COLUMNS, rows))
        assert rows == sorted(storage.get_many("things", [row_id(row) for row in rows]), key=row_id)
        assert [] == storage.get_many("things", [99_999])
        assert [] == storage.get_many("things", [])

    def test_columns_left_out_are_null(self, storage: Storage) -> None:
        columns = ("size", "id", "version", "created_tx", "updated_tx")
        write(storage, lambda: storage.insert_many("things", columns, [(7, LARGEST, 1, 1, 1)]))
        assert [thing(LARGEST, size=7)] == storage.get_many("things", [LARGEST])

    def test_many_rows_are_written_and_read(self, storage: Storage) -> None:
        rows = [thing(n, size=n) for n in range(1, 2501)]
        write(storage, lambda: storage.insert_many("things", _COLUMNS, rows))
        assert rows == sorted(storage.get_many("things", [row_id(row) for row in rows]), key=row_id)

    def test_an_update_needs_the_version_it_read(self, storage: Storage) -> None:
        fill(storage, [thing(1, size=1, name="n"), thing(2, version=5)])
        updates = [Update(1, 1, {"size": 10}), Update(2, 4, {"size": 20}), Update(3, 1, {"size": 30})]
        assert [2, 3] == write(storage, lambda: storage.update_if_version("things", updates))
        assert [thing(1, version=2, size=10, name="n"), thing(2, version=5)] == storage.find("things")

    def test_an_update_may_set_null_and_change_nothing_else(self, storage: Storage) -> None:
        fill(storage, [thing(1, size=1, name="n", code="c")])
        write(storage, lambda: storage.update_if_version("things", [Update(1, 1, {"size": None}), Update(1, 2, {})]))
        assert [thing(1, version=3, name="n", code="c")] == storage.find("things")

    def test_a_delete_needs_the_version_it_read(self, storage: Storage) -> None:
        fill(storage, [thing(1), thing(2, version=2), thing(3)])
        assert [2, 4] == write(storage, lambda: storage.delete("things", [(1, 1), (2, 1), (4, 1)]))
        assert [2, 3] == ids(storage)

    def test_put_many_replaces_whole_rows_of_the_same_id(self, storage: Storage) -> None:
        fill(storage, [thing(1, name="old", size=1)])
        columns = ("id", "version", "created_tx", "updated_tx", "name")
        write(storage, lambda: storage.put_many("things", columns, [(1, 1, 1, 1, "new"), (2, 1, 1, 1, "added")]))
        assert [thing(1, name="new"), thing(2, name="added")] == storage.find("things")

    def test_a_taken_id_or_code_is_a_duplicate_key_that_names_it(self, storage: Storage) -> None:
        fill(storage, [thing(1, code="a"), thing(2, code=None)])
        for row, columns in [(thing(1), ("id",)), (thing(3, code="a"), ("code",))]:
            with pytest.raises(DuplicateKey) as error:
                write(storage, partial(storage.insert_many, "things", _COLUMNS, [row]))
            assert ("things", columns) == (error.value.table, error.value.columns)
        with pytest.raises(DuplicateKey):
            write(storage, lambda: storage.update_if_version("things", [Update(2, 1, {"code": "a"})]))
        with pytest.raises(DuplicateKey):
            write(storage, lambda: storage.put_many("things", _COLUMNS, [thing(2, code="a")]))

    def test_null_and_texts_that_differ_at_all_are_no_duplicates(self, storage: Storage) -> None:
        codes = [None, None, "a", "A", "a ", "é", "e\u0301", "ي", "ی", "", " "]
        fill(storage, [thing(n, code=code) for n, code in enumerate(codes, 1)])
        assert len(codes) == storage.count("things")

    def test_a_freed_code_may_be_used_again_in_the_same_transaction(self, storage: Storage) -> None:
        fill(storage, [thing(1, code="a"), thing(2, code="b")])

        def swap() -> None:
            storage.delete("things", [(1, 1)])
            storage.update_if_version("things", [Update(2, 1, {"code": "a"})])
            storage.insert_many("things", _COLUMNS, [thing(3, code="b")])

        write(storage, swap)
        assert ["a", "b"] == [cell(row, "code") for row in storage.find("things")]

    # Finding

    def test_text_sorts_by_code_point_and_null_comes_last_both_ways(self, storage: Storage) -> None:
        rows = [thing(n, name=text) for n, text in enumerate([None, *reversed(AWKWARD_TEXTS)], 1)]
        fill(storage, rows)
        ascending = [cell(row, "name") for row in storage.find("things", sort=[SortKey("name")])]
        assert [*sorted(AWKWARD_TEXTS), None] == ascending
        descending = [cell(row, "name") for row in storage.find("things", sort=[SortKey("name", descending=True)])]
        assert [*sorted(AWKWARD_TEXTS, reverse=True), None] == descending

    def test_ties_are_sorted_by_id(self, storage: Storage) -> None:
        fill(storage, [thing(3, size=1), thing(1, size=1), thing(4), thing(2, size=2), thing(5)])
        assert [2, 1, 3, 4, 5] == ids(storage, sort=[SortKey("size", descending=True)])
        assert [1, 3, 2, 4, 5] == ids(storage, sort=[SortKey("size")])

    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_together_are_the_whole_list(self, storage: Storage, descending: bool) -> None:
        sizes = [None, 3, 3, 3, 1, None, 2, None, 3, 1]
        fill(storage, [thing(n, size=size, group="ab"[n % 2]) for n, size in enumerate(sizes, 1)])
        for sort in (
            [],
            [SortKey("size", descending)],
            [SortKey("group", descending), SortKey("size", not descending)],
        ):
            for limit in (1, 2, 3, 100):
                assert storage.find("things", sort=sort) == pages(storage, None, sort, limit)

    def test_a_limit_and_columns_narrow_what_is_returned(self, storage: Storage) -> None:
        fill(storage, [thing(n, size=-n) for n in range(1, 6)])
        found = storage.find("things", sort=[SortKey("size")], limit=2, columns=["size", "id"])
        assert [(-5, 5), (-4, 4)] == found
        assert [] == storage.find("things", limit=0)

    @pytest.mark.parametrize(
        ("where", "expected"),
        [
            (Compare("size", "=", 2), [2]),
            (Compare("size", "!=", 2), [1, 3, 4]),
            (Compare("size", "<", 3), [1, 2]),
            (Compare("size", ">=", 2), [2, 3]),
            (Compare("name", ">", "B"), [2]),
            (In("size", (1, 3, 77)), [1, 3]),
            (In("size", tuple(range(3, 2000))), [3]),
            (In("name", ()), []),
            (In("name", (*(f"x{n}" for n in range(200)), "%")), [3]),
            (Contains("name", "b"), [2]),
            (Contains("name", "%"), [3]),
            (Contains("name", ""), [1, 2, 3]),
            (IsNull("size"), [4]),
            (Not(IsNull("size")), [1, 2, 3]),
            (Not(Compare("size", "=", 2)), [1, 3, 4]),
            (Not(Compare("size", "<", 2)), [2, 3, 4]),
            (Not(Contains("name", "b")), [1, 3, 4]),
            (Not(Not(Compare("size", "=", 2))), [2]),
            (Not(Or((Compare("size", "=", 2), Compare("name", "=", "A")))), [3, 4]),
            (And((Compare("size", ">", 1), Compare("size", "<", 3))), [2]),
            (And(()), [1, 2, 3, 4]),
            (Or((Compare("size", "=", 1), IsNull("name"))), [1, 4]),
            (Or(()), []),
            (Remainder("id", 2, 1), [1, 3]),
            (Compare("name", "=", "A\0"), []),
            (Compare("name", "!=", "A\0"), [1, 2, 3, 4]),
            (Compare("name", "<", "A\0"), [1, 3]),
            (Compare("name", ">=", "A\0"), [2]),
            (Not(Compare("name", ">", "A\0b")), [1, 3, 4]),
            (In("name", ("A", "\0")), [1]),
            (Contains("name", "\0"), []),
            (Exists("parts", "thing_id"), [1, 3]),
            (Exists("parts", "thing_id", Compare("label", "=", "x")), [1]),
            (Not(Exists("parts", "thing_id", Compare("label", "=", "x"))), [2, 3, 4]),
            (And((Compare("group", "=", "g"), Exists("parts", "thing_id"))), [1]),
        ],
    )
    def test_filters(self, storage: Storage, where: Expression, expected: list[int]) -> None:
        fill(
            storage,
            [thing(1, size=1, name="A", group="g"), thing(2, size=2, name="bb"), thing(3, size=3, name="%"), thing(4)],
        )
        parts: list[Row] = [(1, 1, 1, 1, 1, "x"), (2, 1, 1, 1, 1, None), (3, 1, 1, 1, 3, "y")]
        write(storage, lambda: storage.insert_many("parts", PARTS.column_names, parts))
        assert expected == ids(storage, where)
        assert len(expected) == storage.count("things", where)

    def test_names_that_are_not_there_are_refused_and_never_run(self, storage: Storage) -> None:
        bad = 'size" OR 1=1 --'
        actions: list[Callable[[], object]] = [
            lambda: storage.find("things", Compare(bad, "=", 1)),
            lambda: storage.find("things", sort=[SortKey(bad)]),
            lambda: storage.find("things", columns=[bad]),
            lambda: storage.find(bad),
            lambda: storage.find("things", after=[1, 2, 3]),
        ]
        for action in actions:
            with pytest.raises(StorageError):
                action()
        with pytest.raises(StorageError):
            write(storage, lambda: storage.insert_many("things", ["id", bad], [(1, 1)]))
        with pytest.raises(StorageError):
            write(storage, lambda: storage.update_if_version("things", [Update(1, 1, {bad: 1})]))

    def test_a_scan_yields_everything_in_id_order_in_batches(self, storage: Storage) -> None:
        fill(storage, [thing(n, size=n % 10) for n in (5, 3, 1, 4, 2, LARGEST)])
        batches = list(storage.scan("things", ["size", "id"], batch=2))
        assert [2, 2, 2] == [len(rows) for rows in batches]
        expected = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (7, LARGEST)]
        assert expected == [row for rows in batches for row in rows]

    def test_writes_between_the_batches_of_a_scan_do_not_disturb_it(self, storage: Storage) -> None:
        fill(storage, [thing(n, size=0) for n in range(1, 8)])
        seen = []
        for rows in storage.scan("things", ["id", "version"], batch=3):
            seen += [row[0] for row in rows]
            updates = [Update(int(str(id_)), int(str(version)), {"size": 1}) for id_, version in rows]
            write(storage, partial(storage.update_if_version, "things", updates))
        assert list(range(1, 8)) == seen
        assert 7 == storage.count("things", Compare("size", "=", 1))

    # Transactions

    def test_a_rollback_leaves_nothing(self, storage: Storage) -> None:
        fill(storage, [thing(1, code="a")])
        storage.begin()
        storage.insert_many("things", _COLUMNS, [thing(2, code="b")])
        storage.update_if_version("things", [Update(1, 1, {"size": 9})])
        storage.delete("things", [(1, 2)])
        storage.append_ledger(["id", "notes"], (1, None))
        assert [2] == ids(storage)
        storage.rollback()
        storage.rollback()
        assert [thing(1, code="a")] == storage.find("things")
        assert 0 == storage.count("ledger_transactions")
        fill(storage, [thing(2, code="b")])

    def test_a_write_outside_a_transaction_is_refused(self, storage: Storage) -> None:
        actions: list[Callable[[], object]] = [
            lambda: storage.insert_many("things", _COLUMNS, [thing(1)]),
            lambda: storage.put_many("things", _COLUMNS, [thing(1)]),
            lambda: storage.update_if_version("things", [Update(1, 1, {})]),
            lambda: storage.delete("things", [(1, 1)]),
            lambda: storage.append_ledger(["id"], (1,)),
            storage.commit,
        ]
        for action in actions:
            with pytest.raises(StorageError):
                action()
        storage.begin(write=False)
        with pytest.raises(StorageError):
            storage.insert_many("things", _COLUMNS, [thing(1)])
        with pytest.raises(StorageError):
            storage.begin()
        storage.rollback()

    def test_after_a_failed_write_a_commit_is_refused(self, storage: Storage) -> None:
        fill(storage, [thing(1)])
        storage.begin()
        storage.insert_many("things", _COLUMNS, [thing(2)])
        with pytest.raises(DuplicateKey):
            storage.insert_many("things", _COLUMNS, [thing(1)])
        with pytest.raises(StorageError):
            storage.commit()
        assert [1] == ids(storage)
        fill(storage, [thing(3)])

    def test_scrubbing_loses_nothing_and_says_what_may_remain(self, storage: Storage) -> None:
        fill(storage, [thing(n, name=f"n{n}") for n in range(1, 50)])
        write(storage, lambda: storage.delete("things", [(n, 1) for n in range(1, 40)]))
        assert isinstance(storage.scrub(), str)
        assert list(range(40, 50)) == ids(storage)

    def test_others_see_a_transaction_when_it_commits(self, storage: Storage) -> None:
        storage.begin()
        storage.insert_many("things", _COLUMNS, [thing(1)])
        assert [] == elsewhere(lambda: ids(storage))
        storage.commit()
        assert [1] == elsewhere(lambda: ids(storage))

    def test_a_snapshot_sees_one_state(self, storage: Storage) -> None:
        fill(storage, [thing(1, size=1)])
        storage.begin(write=False)
        elsewhere(lambda: fill(storage, [thing(2)]))
        elsewhere(lambda: write(storage, lambda: storage.update_if_version("things", [Update(1, 1, {"size": 2})])))
        assert [thing(1, size=1)] == storage.find("things", Compare("size", "=", 1))
        assert [[(1,)]] == list(storage.scan("things", ["id"]))
        assert 1 == storage.count("things")
        storage.commit()
        assert [1, 2] == ids(storage)

    def test_a_copy_has_what_is_committed_and_is_nobody_elses(self, storage: Storage, tmp_path: Path) -> None:
        if "copy" not in storage.capabilities:
            with pytest.raises(NotImplementedError):
                storage.copied(tmp_path)
            return
        fill(storage, [thing(1, name="there")])
        copy = storage.copied(tmp_path)
        assert storage.schema() == copy.schema()
        copy.begin()
        copy.insert_many("things", _COLUMNS, [thing(2)])
        fill(storage, [thing(3)])  # whoever works on the original waits for nobody
        copy.commit()
        assert [thing(1, name="there"), thing(2)] == copy.find("things")
        assert [thing(1, name="there"), thing(3)] == storage.find("things")
        copy.close()

    def test_a_sound_storage_has_no_faults(self, storage: Storage) -> None:
        fill(storage, [thing(n, name=text) for n, text in enumerate(AWKWARD_TEXTS, 1)])
        assert storage.check() in ([], None)
        assert storage.check_indexes() in ([], None)

    def test_indexes_made_anew_leave_every_row_as_it_was(self, storage: Storage) -> None:
        rows = [thing(n, name=text, code=str(n)) for n, text in enumerate(AWKWARD_TEXTS, 1)]
        fill(storage, rows)
        assert all(isinstance(made, str) for made in storage.reindex())
        assert rows == storage.find("things")
        assert [3] == ids(storage, Compare("code", "=", "3"))
        assert storage.check() in ([], None)
        assert storage.check_indexes() in ([], None)
        with pytest.raises(DuplicateKey):
            fill(storage, [thing(1_000, code="3")])

    # The random walk

    def test_any_filter_pages_to_its_whole_list(self, storage: Storage) -> None:
        texts = [*AWKWARD_TEXTS[:12], None, *AWKWARD_TEXTS[:12]]
        fill(storage, [thing(n, name=text, group=text, size=n % 3 or None) for n, text in enumerate(texts, 1)])

        @settings(max_examples=60, deadline=None)
        @given(where=expressions(), sort=sorts, limit=st.integers(1, 4))
        def holds(where: Expression, sort: list[SortKey], limit: int) -> None:
            whole = storage.find("things", where, sort=sort)
            assert whole == pages(storage, where, sort, limit)
            assert len(whole) == storage.count("things", where)
            assert len(texts) - len(whole) == storage.count("things", Not(where))

        holds()

    def test_a_random_walk_agrees_with_the_model(self) -> None:
        if self.is_model:
            pytest.skip("NOT RUN: this is the model that other storages walk beside")
        steps = int(os.environ.get("CRM_STORAGE_STEPS", "1000"))
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            places: dict[int, Path] = {}
            numbers = itertools.count()

            def open_new() -> Storage:
                place = Path(folder, str(next(numbers)))
                place.mkdir()
                storage = self.open(place)
                places[id(storage)] = place
                return storage

            def reopen(storage: Storage) -> Storage:
                if not self.durable:
                    return storage
                place = places.pop(id(storage))
                storage.close()
                again = self.open(place)
                places[id(again)] = place
                return again

            walk = storage_machine(open_new, reopen)
            while walk.steps < steps:
                before = walk.steps
                run_state_machine_as_test(
                    walk,
                    settings=settings(
                        max_examples=max(1, (steps - walk.steps + 49) // 50),
                        stateful_step_count=50,
                        deadline=None,
                        suppress_health_check=list(HealthCheck),
                    ),
                )
                assert walk.steps > before
        print(f"{type(self).__name__}: {walk.steps:,} steps beside the model, 0 divergences")  # noqa: T201
