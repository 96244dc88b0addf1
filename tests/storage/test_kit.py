"""The kit of storages finds faults: each of these breaks one promise, and the claim about it does not hold any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import Phase, settings

from crm_core.errors import StorageError
from crm_core.extend.storage import Storage, TableRows, Update
from crm_core.ledger.evolution import upgrade
from crm_core.memory import MemoryStorage
from crm_core.query.ast import Expression, SortKey
from crm_core.records.schema import AddType, Manifest, Primitive, Row
from crm_core.testing import StorageContract
from crm_core.testing.tables import MANIFEST, THINGS
from crm_storage_sql.storage import SqliteStorage
from crm_storage_sql.url import Place


@pytest.fixture(autouse=True)
def _a_fault_need_not_be_made_small() -> Iterator[None]:
    settings.register_profile("first fault", settings(), phases=[Phase.generate])
    settings.load_profile("first fault")
    yield
    settings.load_profile("house")


class LosesUpdates(MemoryStorage):
    """The last one who writes wins."""

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        versions = {row[0]: row[1] for row in self.get_many(table, [one.id for one in updates])}
        fresh = [attrs.evolve(one, version=versions.get(one.id, one.version)) for one in updates]
        return super().update_if_version(table, fresh)


class DeletesWhatChanged(MemoryStorage):
    """It deletes by id alone."""

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        rows: Any = self.get_many(table, [key for key, _ in keys])
        return super().delete(table, [(row[0], row[1]) for row in rows])


class KeepsHalves(MemoryStorage):
    """It commits what is to be rolled back."""

    def rollback(self) -> None:
        if self._transaction() is not None:
            rollback, self.rollback = super().rollback, lambda: None
            self.commit()
            del self.rollback
            rollback()


class ReadsAsItGoes(MemoryStorage):
    """A reading transaction sees what others commit meanwhile."""

    def begin(self, *, write: bool = True) -> None:
        if write:
            super().begin()

    def rollback(self) -> None:
        if self._transaction() is not None:
            super().rollback()


class IgnoresCase(MemoryStorage):
    """Texts sort as a collation of natural language has it."""

    def find(self, table: str, *args: Any, sort: Sequence[SortKey] = (), **kwargs: Any) -> list[Row]:
        found = super().find(table, *args, sort=sort, **kwargs)
        return sorted(found, key=lambda row: str(row[4]).casefold()) if sort and sort[0].column == "name" else found


class CountsEverything(MemoryStorage):
    """Its count does not look at the filter."""

    def count(self, table: str, where: Expression | None = None) -> int:
        return super().count(table)


class PutsBesides(MemoryStorage):
    """Replacing a row keeps the cells that are not named, where the whole row is to be replaced."""

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        for row in rows:
            cells = dict(zip(columns, row, strict=True))
            for old in self.get_many(table, [cells["id"]]):
                names = self._view(table).table.column_names
                cells = {**dict(zip(names, old, strict=True)), **cells}
            super().put_many(table, list(cells), [tuple(cells.values())])


class DropsTrailingSpaces(MemoryStorage):
    """Texts are stored as CHAR columns do."""

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        super().insert_many(table, columns, [tuple(map(_cut, row)) for row in rows])

    def put_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        super().put_many(table, columns, [tuple(map(_cut, row)) for row in rows])

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        cut = [attrs.evolve(one, changes={name: _cut(value) for name, value in one.changes.items()}) for one in updates]
        return super().update_if_version(table, cut)


def _cut(cell: Primitive) -> Primitive:
    return cell.rstrip(" ") if isinstance(cell, str) else cell


class AcceptsAnOlderVersion(MemoryStorage):
    """A write that was overtaken by one other is taken all the same."""

    def update_if_version(self, table: str, updates: Sequence[Update]) -> list[int]:
        stale = super().update_if_version(table, updates)
        late = [attrs.evolve(one, version=one.version + 1) for one in updates if one.id in stale]
        return super().update_if_version(table, late) if late else stale


class HasNoStableOrder(MemoryStorage):
    """Rows that sort alike come as it happens, where the id is to decide."""

    def find(self, table: str, *args: Any, sort: Sequence[SortKey] = (), **kwargs: Any) -> list[Row]:
        found = super().find(table, *args, sort=sort, **kwargs)
        place = [*self._view(table).table.column_names].index(sort[0].column) if sort else 0
        if not sort or kwargs.get("columns"):
            return found
        groups: dict[Any, list[Row]] = {}
        for row in found:
            groups.setdefault(row[place], []).insert(0, row)
        return [row for group in groups.values() for row in group]


class SkipsOneBetweenPages(MemoryStorage):
    """A page begins one row too late."""

    def find(self, table: str, *args: Any, after: Sequence[Any] = (), **kwargs: Any) -> list[Row]:
        at = [*after[:-1], after[-1] + 1] if after else after
        return super().find(table, *args, after=at, **kwargs)


class TakesAnyName(MemoryStorage):
    """A column that is not there is nothing it would mind."""

    def find(self, *args: Any, **kwargs: Any) -> list[Row]:
        try:
            return super().find(*args, **kwargs)
        except StorageError:
            return []


class ReplacesAsItGoes(MemoryStorage):
    """What was there goes before what comes has been read."""

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        super().replace(manifest, [])
        super().replace(manifest, tables)


class KeepsItsOldSchema(MemoryStorage):
    """It takes the rows of a backup into the tables it has."""

    def replace(self, manifest: Manifest, tables: Iterable[TableRows]) -> None:
        assert self._manifest is not None
        super().replace(self._manifest, [one for one in tables if one.table in self._manifest.tables])


class LinksOfNothing(MemoryStorage):
    """Each transaction is linked as if it were the first."""

    def link_before(self, position: int) -> str | None:
        return None


class LinksOfAnEarlierOne(MemoryStorage):
    """It links to what it remembers, which is not of the position before."""

    def link_before(self, position: int) -> str | None:
        return super().link_before(position - 1) or super().link_before(position)


class CutsItsBatches(MemoryStorage):
    """A batch ends one row early, and what it lacks is in none."""

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        for rows in super().scan(table, columns, batch=batch):
            yield rows[:9_999]


class EndsItsScans(MemoryStorage):
    """After a batch of the size that its driver has at most, it takes the table for read."""

    def scan(self, table: str, columns: Sequence[str], *, batch: int = 10_000) -> Iterator[list[Row]]:
        for rows in super().scan(table, columns, batch=min(batch, 9_999)):
            yield rows
            if len(rows) < batch:
                return


class CountsToAThousand(MemoryStorage):
    """More than so many are not counted."""

    def count(self, table: str, where: Expression | None = None) -> int:
        return min(1_000, super().count(table, where))


class CutsItsLists(MemoryStorage):
    """A list has an end that nobody asked for."""

    def find(self, *args: Any, **kwargs: Any) -> list[Row]:
        return super().find(*args, **kwargs)[:65_536]


class FindsNoMoreThanParameters(MemoryStorage):
    """Of more ids than a statement takes parameters, the rest is left out."""

    def get_many(self, table: str, ids: Sequence[int]) -> list[Row]:
        return super().get_many(table, ids[:32_766])


class RevivesTheDeleted(SqliteStorage):
    """What was deleted is gone until it is opened again."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.gone: list[Row] = []

    def delete(self, table: str, keys: Sequence[tuple[int, int]]) -> list[int]:
        self.gone += self.get_many(table, [id_ for id_, _ in keys])
        return super().delete(table, keys)

    def close(self) -> None:
        if self.gone:
            self.begin()
            self.put_many("things", THINGS.column_names, [(*row[:5], None, *row[6:]) for row in self.gone])
            self.commit()
            self.gone = []
        super().close()


class ForgetsLinks(SqliteStorage):
    """The links of the chain are known to the process alone."""

    def close(self) -> None:
        with suppress(StorageError):
            self.begin()
            self._session().run("UPDATE ledger_transactions SET chain = NULL")
            self.commit()
        super().close()


class KeepsToItself(MemoryStorage):
    """Whoever opens it has one of their own, which is not what it declares."""

    capabilities = MemoryStorage.capabilities | {"concurrent"}

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.apply([AddType(table) for table in MANIFEST.tables.values()], MANIFEST)


class WritesOverOthers(KeepsToItself):
    """All who open it have the same tables, and nothing keeps them from writing at once."""

    shared: ClassVar[dict[Path, dict[str, Any]]] = {}

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._tables = self.shared.setdefault(place.path, self._tables)

    def close(self) -> None:
        self._closed = True


class Kit(StorageContract):
    """The suite as a vendor subclasses it; not named Test, because it is to fail."""

    make: Callable[..., Storage] = MemoryStorage
    on_a_path: ClassVar[bool] = False

    def open(self, path: Path) -> Storage:
        return self.make(Place(path / "crm.db", 30)) if self.on_a_path else self.make()


@pytest.mark.parametrize(
    ("faulty", "claim"),
    [
        (LosesUpdates, "test_an_update_needs_the_version_it_read"),
        (LosesUpdates, "test_no_update_is_lost_between_threads"),
        (DeletesWhatChanged, "test_a_delete_needs_the_version_it_read"),
        (KeepsHalves, "test_a_rollback_leaves_nothing"),
        (ReadsAsItGoes, "test_a_snapshot_sees_one_state"),
        (IgnoresCase, "test_text_sorts_by_code_point_and_null_comes_last_both_ways"),
        (CountsEverything, "test_any_filter_pages_to_its_whole_list"),
        (PutsBesides, "test_put_many_replaces_whole_rows_of_the_same_id"),
        (DropsTrailingSpaces, "test_what_is_inserted_is_read_back"),
        (AcceptsAnOlderVersion, "test_no_update_is_lost_between_threads"),
        (HasNoStableOrder, "test_ties_are_sorted_by_id"),
        (SkipsOneBetweenPages, "test_any_filter_pages_to_its_whole_list"),
        (TakesAnyName, "test_names_that_are_not_there_are_refused_and_never_run"),
        (ReplacesAsItGoes, "test_rows_that_end_in_an_error_change_nothing"),
        (KeepsItsOldSchema, "test_rows_take_the_place_of_everything"),
        (LinksOfNothing, "test_each_link_is_made_of_the_one_before_it"),
        (LinksOfAnEarlierOne, "test_each_link_is_made_of_the_one_before_it"),
        (CutsItsBatches, "test_nothing_is_cut_however_many_rows_there_are"),
        (EndsItsScans, "test_nothing_is_cut_however_many_rows_there_are"),
        (CountsToAThousand, "test_nothing_is_cut_however_many_rows_there_are"),
        (CutsItsLists, "test_nothing_is_cut_however_many_rows_there_are"),
        (FindsNoMoreThanParameters, "test_nothing_is_cut_however_many_rows_there_are"),
    ],
)
def test_a_fault_is_found_and_the_model_has_none(faulty: type[MemoryStorage], claim: str) -> None:
    for make, holds in [(MemoryStorage, True), (faulty, False)]:
        kit, storage = Kit(), make()
        upgrade(storage, MANIFEST)
        if holds:
            getattr(kit, claim)(storage)
        else:
            with pytest.raises((AssertionError, pytest.fail.Exception, StorageError)):
                getattr(kit, claim)(storage)


@pytest.mark.parametrize(
    "faulty",
    [
        LosesUpdates,
        PutsBesides,
        CountsEverything,
        KeepsHalves,
        DropsTrailingSpaces,
        AcceptsAnOlderVersion,
        HasNoStableOrder,
        SkipsOneBetweenPages,
        LinksOfNothing,
        LinksOfAnEarlierOne,
    ],
)
def test_a_random_walk_finds_a_fault_without_being_told_where_it_is(
    faulty: type[MemoryStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kit, "make", staticmethod(faulty), raising=False)
    monkeypatch.setattr(Kit, "durable", False)
    monkeypatch.setenv("CRM_STORAGE_STEPS", "20000")  # it ends at the first fault, after some hundred as a rule
    with pytest.raises(AssertionError):
        Kit().test_a_random_walk_agrees_with_the_model()


@pytest.mark.parametrize(
    ("faulty", "claim"),
    [
        (RevivesTheDeleted, "test_every_kind_of_write_outlives_a_reopening"),
        (ForgetsLinks, "test_every_kind_of_write_outlives_a_reopening"),
        (KeepsToItself, "test_two_handles_see_what_each_other_commits"),
        (WritesOverOthers, "test_no_update_is_lost_between_two_handles"),
    ],
)
@pytest.mark.database("sqlite")
def test_a_fault_that_others_or_a_reopening_show_is_found(
    faulty: type[Storage], claim: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kit, "on_a_path", True)
    for make, folder in ((SqliteStorage, "sound"), (faulty, "faulty")):
        monkeypatch.setattr(Kit, "make", staticmethod(make))
        (tmp_path / folder).mkdir()
        if make is SqliteStorage:
            getattr(Kit(), claim)(tmp_path / folder)
        else:
            with pytest.raises(AssertionError):
                getattr(Kit(), claim)(tmp_path / folder)


def test_a_storage_that_forgets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kit, "make", staticmethod(MemoryStorage), raising=False)
    with pytest.raises(AssertionError):
        Kit().test_what_was_committed_is_there_after_reopening(tmp_path)
