from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import CRM
from crm_transfer.columns import Columns
from crm_transfer.computing import ComputedColumn
from crm_transfer.conditions import conditions, holds
from crm_transfer.errors import BadCell, MappingError
from crm_transfer.expressions import OPERATIONS, expression
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping
from crm_transfer.operations import Scope, compiled
from crm_transfer.patterns import matcher
from crm_transfer.sorting import Keyed, Sorter
from crm_transfer.tables import Table, parse_toml

ROW = {
    "name": "  Ada  de   Lovelace ",
    "empty": "",
    "n": "1.234,50",
    "m": "-3",
    "zero": "0",
    "third": "3",
    "day": "31/01/2011",
    "time": "26/03/2011 12:30",
    "later": "02/04/2011",
    "address": "1 St. James St., London, UK",
    "code": "C536379",
    "bad": "twelve",
    "big": "9" * 60,
}
CASES = [
    ('"name"', "Ada  de   Lovelace"),
    ('{ column = "name" }', "Ada  de   Lovelace"),
    ("5", "5"),
    ("-0.50", "-0.5"),
    ('{ const = "x y" }', "x y"),
    ("{ const = 7 }", "7"),
    ('{ concat = ["code", "empty", "m"], separator = "/" }', "C536379/-3"),
    ('{ concat = ["empty", "empty"], separator = "/" }', ""),
    ('{ first = ["empty", "code"] }', "C536379"),
    ('{ first = ["empty", "n"] }', "1.234,50"),
    ('{ first = ["empty", "n", 0] }', "1234.50"),
    ('{ first = ["empty", 0] }', "0"),
    (
        '{ choose = [{ when = { column = "code", like = "C*" }, then = { const = "refund" } }], else = "name" }',
        "refund",
    ),
    ('{ choose = [{ when = { column = "code", like = "X*" }, then = { const = "refund" } }] }', ""),
    ('{ choose = [{ when = { column = "m", below = 0 }, then = { negate = "m" } }], else = "m" }', "3"),
    ('{ trim = "name" }', "Ada de Lovelace"),
    ('{ lower = "code" }', "c536379"),
    ('{ upper = { trim = "name" } }', "ADA DE LOVELACE"),
    ('{ replace = "address", with = { "St." = "Street", "UK" = "" } }', "1 Street James Street, London,"),
    ('{ split = "address", at = ",", part = 2 }', "London"),
    ('{ split = "address", at = ",", part = -1 }', "UK"),
    ('{ split = "address", at = ",", part = 4 }', ""),
    ('{ split = "address", at = ",", part = -4 }', ""),
    ('{ cut = "code", start = 1, length = 1 }', "C"),
    ('{ cut = "code", start = -4 }', "6379"),
    ('{ cut = "code", start = -40, length = 2 }', "C5"),
    ('{ null_if = "code", is = ["C536379", "-"] }', ""),
    ('{ null_if = "code", like = "[0-9]*" }', "C536379"),
    ('{ null_if = "code", like = ["x", "C??????"] }', ""),
    ('{ add = ["n", "m", 1] }', "1232.50"),
    ('{ subtract = ["n", "m"] }', "1237.50"),
    ('{ multiply = ["n", "m"] }', "-3703.50"),
    ('{ multiply = ["big", 2] }', "1" + "9" * 59 + "8"),
    ('{ multiply = ["n", "empty"] }', ""),
    ('{ divide = ["n", "third"], digits = 2 }', "411.50"),
    ('{ divide = [1, "third"], digits = 4 }', "0.3333"),
    ("{ round = 2.675, digits = 2 }", "2.68"),
    ("{ round = -2.5, digits = 0 }", "-3"),
    ('{ negate = "m" }', "3"),
    ('{ negate = "zero" }', "0"),
    ('{ abs = "m" }', "3"),
    ('{ shift = "day", months = 1 }', "2011-02-28"),
    ('{ shift = "day", years = 1, months = 1 }', "2012-02-29"),
    ('{ shift = "day", days = "third" }', "2011-02-03"),
    ('{ shift = "day", days = "empty" }', ""),
    ('{ shift = "time", days = 1 }', "2011-03-27T12:30:00+01:00"),
    ('{ shift = "time", hours = 24 }', "2011-03-27T13:30:00+01:00"),
    ('{ shift = "day", minutes = 90 }', "2011-01-31T01:30:00+00:00"),
    ('{ shift = { shift = "day", days = 1 }, days = -1 }', "2011-01-31"),
    ('{ day = "time" }', "2011-03-26"),
    ('{ days_between = ["day", "later"] }', "61"),
    ('{ days_between = ["time", { shift = "time", hours = 20 }] }', "1"),
    ('{ date_text = "time", as = "%Y-%m" }', "2011-03"),
    ('{ date_text = "empty", as = "%Y" }', ""),
]


def made(text: str) -> Any:
    root = Table(parse_toml(f"[columns]\nx = {text}", "m.toml"), "m.toml").table("columns")
    scope = Scope(
        columns=Columns(list(ROW), "f.csv"), decimal=",", thousands=".", dates=_FORM, zone=ZoneInfo("Europe/London")
    )
    return compiled(expression(root.data["x"], root, "x"), scope)


_FORM = "%d/%m/%Y"


def computed(text: str) -> str:
    row = dict(ROW)
    return str(made(text).read(list(row.values())))


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_an_expression_gives_its_value(text: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_FORM", "%d/%m/%Y %H:%M" if '"time"' in text else "%d/%m/%Y")
    assert expected == computed(text)


def test_every_operation_has_a_case() -> None:
    assert [] == [name for name in OPERATIONS if not any(f"{{ {name} =" in text for text, _ in CASES)]


@pytest.mark.parametrize(
    ("text", "column", "rule", "message"),
    [
        ('{ add = ["bad", 1] }', "bad", "number", "is not a number"),
        ('{ round = { add = ["bad", 1] }, digits = 2 }', "bad", "number", "is not a number"),
        ('{ divide = ["n", "zero"], digits = 2 }', "n + zero", "divide", "divides by 0"),
        ('{ multiply = [{ multiply = ["big", "big"] }, "big"] }', "big", "number", "more than 100 digits"),
        ('{ shift = "bad", days = 1 }', "bad", "date", "is not a date of the form"),
        ('{ shift = "day", days = "n" }', "day + n", "shift", "is no whole number of days"),
        ('{ shift = "day", years = 9000 }', "day", "shift", "leads beyond the years 1 to 9999"),
    ],
)
def test_a_cell_that_cannot_be_computed_with_is_named(text: str, column: str, rule: str, message: str) -> None:
    with pytest.raises(BadCell, match=message) as caught:
        computed(text)
    assert (column, rule) == (caught.value.column, caught.value.rule)


def test_a_result_that_is_no_number_tells_what_its_columns_say() -> None:
    values = []
    for text in ('{ divide = ["n", "zero"], digits = 2 }', '{ divide = [1, "zero"], digits = 2 }'):
        with pytest.raises(BadCell) as caught:
            computed(text)
        values.append(caught.value.value)
    assert [f"n: {ROW['n']}, zero: 0", "0"] == values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("true", r"m.toml: \[columns\]: x must be a column's name, a number or an operation"),
        ('""', "must be a column's name"),
        ('{ sum = "n" }', r"m.toml: \[columns\]: x needs exactly one operation, found none"),
        ('{ add = ["n", 1], negate = "n" }', "found add and negate"),
        ('{ add = ["n"] }', "add takes 2 or more, found 1"),
        ('{ subtract = ["n", 1, 2] }', "subtract takes 2, found 3"),
        ('{ trim = "nobody" }', r"\[columns\]: x: trim: f.csv has no column 'nobody'"),
        ('{ split = "n", on = "," }', "'on' is not known"),
        ('{ split = "n", at = "," }', "needs at, a text, and part"),
        ('{ cut = "n", start = 0 }', "needs start"),
        ('{ null_if = "n" }', "needs is or like"),
        ('{ null_if = "n", like = "[0-9" }', "never closed"),
        ('{ round = "n" }', "digits must be from 0 to 12"),
        ('{ round = "n", digits = 1.5 }', "digits must be a whole number"),
        ('{ shift = "day" }', "needs years, months, days, hours or minutes"),
        ('{ date_text = "day", as = "year" }', "is no form of a date"),
        ('{ replace = "n", with = {} }', "must say what becomes what"),
        ('{ choose = [{ then = "n" }] }', "needs when and then"),
        ('{ add = [{ shift = "day", days = 1 }, 1] }', "is a time, and a number is needed"),
        ('{ day = { add = ["n", 1] } }', "is a number, and a day or a time is needed"),
        ('{ first = [{ day = "day" }, 1] }', "one part is a number and another a time"),
        ("{ trim = " * 25 + '"n"' + " }" * 25, "nested more than 20 deep"),
    ],
)
def test_a_mistake_names_file_key_and_way_out(text: str, told: str) -> None:
    with pytest.raises(MappingError, match=told) as caught:
        made(text)
    assert caught.value.hint or "no column" in told


def test_computed_columns_and_values_reach_their_fields(tmp_path: Path) -> None:
    mapping = parse_mapping(
        """
        [file]
        system = "t"
        decimal = ","
        dates = "%d.%m.%Y"
        currency = "EUR"
        [columns]
        total = { multiply = ["price", "count"] }
        due = { shift = "on", days = 14 }
        who = { trim = { lower = "name" } }
        [[record]]
        type = "customer"
        key = "who"
        repeats = true
        [record.fields]
        name = { value = { upper = "who" }, map = { ADA = "Ada" } }
        [[record]]
        type = "sale"
        key = ["who", "on"]
        when = { any = [{ column = "total", above = 10 }, { column = "who", is = "bob" }] }
        [record.fields]
        customer_id = { column = "who", ref = "customer" }
        sold_at = "due"
        amount = "total"
        """
    )
    path = tmp_path / "f.csv"
    path.write_text(
        "name;price;count;on\nAda ;12,50;2;03.02.2021\nBOB;1,5;1;04.02.2021\nada;2;2;05.02.2021\nbob;x;2;05.02.2021\n",
        encoding="utf-8",
    )
    with CRM.open("memory:") as crm:
        report = import_file(crm, path, mapping)
        assert ["Ada", "BOB"] == sorted(str(customer.name) for customer in crm.customers.iterate())
        assert [("25.00", "2021-02-17"), ("1.50", "2021-02-18")] == [
            (f"{sale.amount.amount:.2f}", f"{sale.sold_at:%Y-%m-%d}") for sale in crm.sales.iterate()
        ]
        (error,) = report.errors
        assert ("f.csv", 5, "price", "x", "number") == (
            error.file, error.row, error.column, error.value, error.rule,
        )  # fmt: skip
        again = import_file(crm, path, mapping)
        assert (0, 0, 3) == (again.counts.created, again.counts.updated, again.counts.unchanged)


@pytest.mark.parametrize(
    ("test", "cell", "expected"),
    [
        ('like = "C*"', "C1", True),
        ('like = ["A*", "?"]', "7", True),
        ('not_like = "C*"', "C1", False),
        ('like = "[[]x]"', "[x]", True),
        ("equals = 0", "0,00", True),
        ("equals = 0", "٠", True),
        ("equals = 0", "", False),
        ("equals = 0", "free", False),
        ("above = 1.5", "1,5", False),
        ("at_least = 1.5", "1,5", True),
        ("below = 0", "-0,01", True),
        ("at_most = -1", "-0,01", False),
        ('is = "x"', " x ", True),
    ],
)
def test_conditions(test: str, cell: str, expected: bool) -> None:
    table = Table(parse_toml(f'when = {{ column = "a", {test} }}', "m"), "m")
    scope = Scope(columns=Columns(["a"], "f"), decimal=",", thousands=".", dates="", zone=ZoneInfo("UTC"))
    assert expected is holds(conditions(table), scope.columns, scope.number("text"))([cell])


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=10))
def test_a_pattern_means_what_its_definition_says(pattern: str, text: str) -> None:
    def fits(rest: str, left: str) -> bool:
        if not rest:
            return not left
        if rest[0] == "*":
            return any(fits(rest[1:], left[at:]) for at in range(len(left) + 1))
        return bool(left) and rest[0] in ("?", left[0]) and fits(rest[1:], left[1:])

    if pattern:
        assert fits(pattern, text) is matcher([pattern])(text)


def test_a_hostile_pattern_takes_no_time() -> None:
    fits = matcher(["*a" * 60 + "*b", "*[ab]?*" * 20 + "c"])
    started = time.perf_counter()
    assert not fits("a" * 20_000)
    assert time.perf_counter() - started < 2


def test_a_column_of_many_rows_is_what_each_row_alone_says() -> None:
    def read(cells: Sequence[str]) -> str:
        asked.append(cells[1])
        if cells[1] == "bad":
            raise BadCell("number", f"of {cells[0]}")
        return cells[1].upper()

    asked: list[str] = []
    column, texts = ComputedColumn(read, (1,)), ["a", "bad", "a", "x" * 300, "bad", "x" * 300, "a"]
    for _ in range(2):
        rows, faults = [[str(at), text] for at, text in enumerate(texts)], {4: BadCell("first", "what was there")}
        column.fill(rows, faults)
        assert ["A", "", "A", "X" * 300, "", "X" * 300, "A"] == [cells[2] for cells in rows]
        assert {1: "of 1", 4: "what was there"} == {at: bad.message for at, bad in faults.items()}
    assert (1, 4, 4) == (asked.count("a"), asked.count("bad"), asked.count("x" * 300))


def test_a_sort_is_stable_in_memory_and_on_disk() -> None:
    count, cells = 150_000, ["x" * 40, "some text", "12.50"]
    chance = random.Random(1)
    keys = [f"{chance.randrange(60_000)}" for _ in range(count)]
    tracemalloc.start()
    with Sorter() as sorter:
        rows: Sequence[Keyed] | Any = ((key, at, ([*cells, str(at)], None, False)) for at, key in enumerate(keys))
        last, seen = ("", -1), 0
        for key, number, _ in sorter.sorted(rows):
            assert last < (key, number)
            last, seen = (key, number), seen + 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (count, True) == (seen, peak < 25_000_000), peak
        assert sorter.largest < count * 140
    assert not sorter._folder.path.exists()


def test_many_runs_are_merged_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_transfer import sorting

    monkeypatch.setattr(sorting, "_RUN", 3)
    monkeypatch.setattr(sorting, "_FAN_IN", 4)
    chance = random.Random(2)
    rows = [(str(chance.randrange(9)), at, ([f"cell {at}"], None, False)) for at in range(500)]
    with Sorter() as sorter:
        assert sorted(rows, key=lambda row: row[:2]) == list(sorter.sorted(iter(rows)))
