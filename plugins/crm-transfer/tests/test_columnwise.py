"""Rows that are read together say what each of them says alone, and are looked up once."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import CRM
from crm_core.services.externals import ExternalIdService
from crm_transfer.compiled import compile_mapping
from crm_transfer.errors import BadCell
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.readers import Compiled, Context

COLUMNS = ("no", "name", "kind", "born", "amount", "code", "stage")
DEALS = """
[file]
system = "t"
dates = "%d/%m/%Y"
currency = "EUR"
[[record]]
type = "deal"
key = "no"
[record.fields]
title = "name"
stage = "stage"
amount = { column = "amount", currency = { column = "code" } }
expected_close_on = "born"
lost_reason = { column = "kind", fix = { pric = "price" } }
"""
CELLS = {
    "name": ["Ada", "Bob", "", "  ", "#REF!", "'=1", "x" * 50],
    "kind": ["pric", "price", ""],
    "born": ["01/02/2026", "31/02/2026", "", "2026-02-01"],
    "amount": ["1.50", "1.505", "many", "", "9" * 20],
    "code": ["EUR", "eur", "IRR", "XXX", ""],
    "stage": ["new", "New", "nowhere", ""],
}
ROWS = st.lists(st.tuples(st.just("1"), *(st.sampled_from(CELLS[name]) for name in COLUMNS[1:])), max_size=30)
SEVERAL = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "no"
[[record]]
type = "contact_point"
key = ["no", { const = "email" }]
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "email" }
value = "email"
"""


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    with CRM.open("memory:") as crm:
        pipeline = next(iter(crm.pipelines.values()))
        yield Context(
            registry=crm.registry, zone=crm.zone, currency="EUR", pipelines=crm.pipelines, default_pipeline=pipeline
        )


def _compiled(context: Context) -> Compiled:
    return compile_mapping(parse_mapping(DEALS), COLUMNS, context, "deals.csv")


def _told(found: dict[str, Any] | BadCell) -> object:
    return (found.rule, found.message, found.column, found.value) if isinstance(found, BadCell) else found


@given(rows=ROWS)
def test_rows_read_together_say_what_each_says_alone(context: Context, rows: list[Sequence[str]]) -> None:
    together, alone = _compiled(context), _compiled(context)
    read = together.records[0].values
    expected = [_told(alone.records[0].values([cells])[0]) for cells in rows]
    assert expected == [_told(found) for found in read(rows)]
    assert alone.corrections == together.corrections
    assert expected == [_told(found) for found in read(rows)], "cells that were read before say the same"


def test_of_several_wrong_cells_the_first_field_is_told_and_nothing_behind_it_is_counted(context: Context) -> None:
    made = _compiled(context)
    wrong = ("1", "Ada", "pric", "", "many", "EUR", "new")
    right = ("1", "Ada", "pric", "", "1", "EUR", "new")
    found = made.records[0].values([wrong, right, ("1", "", "pric", "31/02/2026", "many", "", "nowhere")])
    assert [("number", "amount"), None, ("required", "name")] == [
        (each.rule, each.column) if isinstance(each, BadCell) else None for each in found
    ]
    assert 1 == made.corrections.total()


def test_a_name_that_a_chunk_makes_itself_is_looked_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "people.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("no", "email"), *((f"C{n}", f"p{n}@example.org") for n in range(20))])
    asked: list[tuple[str, str]] = []
    find_many = ExternalIdService.find_many

    def noted(self: ExternalIdService, type_name: str, system: str, externals: Sequence[str]) -> Any:
        asked.extend((type_name, external) for external in externals)
        return find_many(self, type_name, system, externals)

    monkeypatch.setattr(ExternalIdService, "find_many", noted)
    with CRM.open("memory:") as crm:
        report = import_file(crm, path, parse_mapping(SEVERAL))
        assert (20, 0) == (report.counts.created, report.counts.rejected)
        assert 20 == crm.contact_points.count()
    assert 20 == sum(1 for kind, _ in asked if kind == "customer")
