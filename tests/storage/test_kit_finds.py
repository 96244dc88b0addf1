"""More storages with one fault each, of texts, numbers, sums and schemas: the suite of the contract finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select

from crm_core.extend import Storage
from crm_core.ledger.evolution import upgrade
from crm_core.memory import MemoryStorage
from crm_core.query.ast import Compare, Expression, Remainder
from crm_core.query.predicate import predicate
from crm_core.records.schema import Drop, Manifest, Primitive, Row, SchemaChange
from crm_core.testing import StorageContract
from crm_core.testing.tables import MANIFEST
from crm_storage_sql.storage import SqliteStorage
from crm_storage_sql.url import Place


class FindsOtherCases(MemoryStorage):
    """A lone comparison of texts takes "a" for "A"; sorting and unique keys do not."""

    def find(self, table: str, where: Expression | None = None, **options: Any) -> list[Row]:
        if isinstance(where, Compare) and where.operator == "=" and isinstance(where.value, str):
            at = MANIFEST.tables[table].column_names.index(where.column)
            return [row for row in super().find(table) if str(row[at]).lower() == where.value.lower()]
        return super().find(table, where, **options)


class FloorsRemainders(MemoryStorage):
    """A remainder has the sign of what it is divided by, as in Python."""

    def find(self, table: str, where: Expression | None = None, **options: Any) -> list[Row]:
        if not isinstance(where, Remainder):
            return super().find(table, where, **options)
        columns = MANIFEST.tables[table].column_names
        known = predicate(Compare(where.column, ">=", -(2**63)), columns, lambda _: ([], []))
        at = columns.index(where.column)
        return [row for row in filter(known, super().find(table)) if int(str(row[at])) % where.modulus == where.value]


class Changing(MemoryStorage):
    """It changes texts that are inserted."""

    changed: Callable[[str], str] = str

    def insert_many(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        def written(cell: Primitive) -> Primitive:
            return type(self).changed(cell) if isinstance(cell, str) else cell

        super().insert_many(table, columns, [tuple(map(written, row)) for row in rows])


class CutsAt64Kilobytes(Changing):
    changed = staticmethod(lambda text: text.encode()[:65_535].decode(errors="ignore"))


class ChangesLineEnds(Changing):
    changed = staticmethod(lambda text: text.replace("\r\n", "\n"))


class KeepsThePurged(MemoryStorage):
    """What is dropped is no longer declared, and that is all."""

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        dropped = {change.table for change in changes if isinstance(change, Drop) and change.column}
        held = {name: self.find(name) for name in dropped}
        super().apply(changes, manifest)
        self.held = {**getattr(self, "held", {}), **held}
        for name, rows in self.held.items():
            if manifest.tables[name] == MANIFEST.tables[name]:
                self.begin()
                self.put_many(name, MANIFEST.tables[name].column_names, rows)
                self.commit()


class SumsInFloats(SqliteStorage):
    """Its numbers go through a floating-point type on their way back."""

    def execute(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        return [
            tuple(int(float(cell)) if isinstance(cell, int) else cell for cell in row)
            for row in super().execute(select)
        ]


class ForgetsItsSchema(SqliteStorage):
    """A change of the schema is known to the process alone."""

    def apply(self, changes: Sequence[SchemaChange], manifest: Manifest) -> None:
        super().apply(changes, manifest)
        self.first = getattr(self, "first", manifest)

    def close(self) -> None:
        first = getattr(self, "first", None)
        if first is not None:
            super().apply([], first)
        super().close()


class Kit(StorageContract):
    """The suite as a vendor subclasses it; not named Test, because it is to fail."""

    make: Callable[[Path], Storage]

    def open(self, path: Path) -> Storage:
        return type(self).make(path)


@pytest.mark.parametrize(
    ("faulty", "claim"),
    [
        (FindsOtherCases, "test_every_text_is_compared_by_code_point"),
        (FloorsRemainders, "test_a_remainder_has_the_sign_of_its_number"),
        (CutsAt64Kilobytes, "test_a_long_text_is_kept_to_its_last_character"),
        (ChangesLineEnds, "test_every_text_is_kept_however_it_is_written"),
        (KeepsThePurged, "test_what_was_purged_does_not_come_back_with_its_declaration"),
    ],
)
def test_a_fault_is_found_and_the_model_has_none(faulty: type[MemoryStorage], claim: str) -> None:
    for make, holds in [(MemoryStorage, True), (faulty, False)]:
        storage = make()
        upgrade(storage, MANIFEST)
        if holds:
            getattr(Kit(), claim)(storage)
        else:
            with pytest.raises(AssertionError):
                getattr(Kit(), claim)(storage)


@pytest.mark.database("sqlite")
def test_sums_that_are_nearly_right_are_found(tmp_path: Path) -> None:
    for make, holds in [(SqliteStorage, True), (SumsInFloats, False)]:
        storage = make(Place(tmp_path / f"{make.__name__}.db", 30))
        upgrade(storage, MANIFEST)
        if holds:
            Kit().test_sums_of_large_amounts_are_exact(storage)
        else:
            with pytest.raises(AssertionError):
                Kit().test_sums_of_large_amounts_are_exact(storage)
        storage.close()


@pytest.mark.database("sqlite")
def test_a_schema_that_only_the_process_knows_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for make, holds in [(SqliteStorage, True), (ForgetsItsSchema, False)]:
        place = tmp_path / make.__name__
        place.mkdir()
        monkeypatch.setattr(
            Kit, "make", staticmethod(lambda path, make=make: make(Place(path / "crm.db", 30))), raising=False
        )
        if holds:
            Kit().test_a_change_of_the_schema_outlives_a_reopening(place)
        else:
            with pytest.raises(AssertionError):
                Kit().test_a_change_of_the_schema_outlives_a_reopening(place)
