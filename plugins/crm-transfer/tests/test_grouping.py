from __future__ import annotations

import csv
import gc
import importlib.util
import os
import random
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Money, hookimpl
from crm_core.events import CustomersChanging, Veto
from crm_transfer import pace, staging
from crm_transfer.errors import MappingError
from crm_transfer.importing import import_file, import_plan, resume_import
from crm_transfer.mapping import parse_mapping
from crm_transfer.plan import load_plan
from crm_transfer.report import ImportReport
from crm_transfer.rows import Group
from tests.opening import EVERYWHERE, STORAGES, url_for

_spec = importlib.util.spec_from_file_location("transfer_content", Path(__file__).parent / "content.py")
assert _spec is not None
assert _spec.loader is not None
_content = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_content)
content, digest = _content.content, _content.digest

HEAD = ["invoice", "code", "what", "quantity", "at", "price", "customer", "country"]
SHOP = """
[file]
system = "shop"
currency = "GBP"
dates = "%d/%m/%Y %H:%M"

[columns]
amount = { round = { multiply = ["quantity", "price"] }, digits = 2 }
sign = { choose = [{ when = { column = "invoice", like = "C*" }, then = -1 }], else = 1 }
kind = { choose = [{ when = { column = "sign", equals = 1 }, then = { const = "sale" } }], else = { const = "refund" } }

[[rule]]
name = "no price"
when = { column = "price", equals = 0 }
skip = true

[group]
by = "invoice"
line = "code"
[group.columns]
amount = "sum"
at = "least"
country = "first"

[match.refunded]
when = { column = "kind", is = "refund" }
among = { column = "kind", is = "sale" }
same = ["customer", "code"]
latest = "at"

[[record]]
type = "customer"
key = "customer"
repeats = true
when = { column = "customer", given = true }
[record.fields]
name = "customer"
country = "country"

[[record]]
type = "product"
key = "code"
repeats = true
[record.fields]
name = { value = { first = ["what", "code"] } }
code = "code"

[[record]]
type = "sale"
per = "group"
key = "invoice"
[record.fields]
kind = "kind"
customer_id = { column = "customer", ref = "customer" }
refunds_sale_id = { column = "refunded", ref = "sale", unknown = "keep" }
sold_at = "at"
amount = { value = { multiply = ["amount", "sign"] } }

[[record]]
type = "sale_line"
per = "line"
key = ["invoice", "code"]
[record.fields]
sale_id = { column = "invoice", ref = "sale" }
product_id = { column = "code", ref = "product" }
quantity = { value = { multiply = ["quantity", "sign"] } }
amount = { value = { multiply = ["amount", "sign"] } }

[[check]]
per = "group"
when = { column = "customer", given = false }
say = "{count} invoices have no customer"
"""
ROWS = [
    ["536365", "85123A", "HEART", "6", "01/12/2010 08:26", "2.55", "17850", "United Kingdom"],
    ["536366", "22633", "WARMER", "6", "01/12/2010 08:28", "1.85", "", "France"],
    ["536365", "71053", "LANTERN", "6", "01/12/2010 08:27", "3.39", "17850", "United Kingdom"],
    ["C536379", "85123A", "HEART", "-1", "01/12/2010 09:41", "2.55", "17850", "United Kingdom"],
    ["536365", "85123A", "HEART", "2", "01/12/2010 08:26", "2.55", "17850", "United Kingdom"],
    ["536367", "84879", "BIRD", "32", "01/12/2010 08:34", "0", "13047", "United Kingdom"],
    ["C100", "85123A", "HEART", "-1", "30/11/2010 09:41", "2.55", "17850", "United Kingdom"],
]


@pytest.fixture(params=STORAGES)
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    with url_for(str(request.param), tmp_path) as url, CRM.open(url) as opened:
        yield opened


on_every_database = pytest.mark.parametrize("crm", EVERYWHERE, indirect=True)


def write(path: Path, rows: Sequence[Sequence[str]], head: Sequence[str] = HEAD) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return path


def bring(crm: CRM, path: Path, mapping: str = SHOP, **options: Any) -> ImportReport:
    report = import_file(crm, path, parse_mapping(mapping), **options)
    for counts in [report.counts, *report.types.values()]:
        assert counts.read == counts.created + counts.updated + counts.unchanged + counts.rejected
    return report


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    found = report.counts
    return found.created, found.updated, found.unchanged, found.rejected


def sales(crm: CRM) -> dict[str, tuple[str, Decimal | None, int]]:
    """Return kind, amount and number of lines of each sale, by its key."""
    lines: dict[int, int] = {}
    for line in crm.records("sale_line").iterate():
        lines[line.sale_id] = lines.get(line.sale_id, 0) + 1
    found = {}
    for sale in crm.sales.iterate():
        name = crm.external_ids.of("sale", [sale.id])[sale.id][0].external
        found[name] = (sale.kind, sale.amount.amount if sale.amount else None, lines.get(sale.id, 0))
    return found


def test_rows_that_interleave_become_invoices_with_lines(crm: CRM, tmp_path: Path) -> None:
    report = bring(crm, write(tmp_path / "o.csv", ROWS))
    assert (6, 0, 1, 0) == counts(report)
    assert {
        "536365": ("sale", Decimal("40.74"), 3),
        "536366": ("sale", Decimal("11.10"), 1),
        "C536379": ("refund", Decimal("2.55"), 1),
        "C100": ("refund", Decimal("2.55"), 1),
    } == sales(crm)
    assert {"no price": 1} == report.skipped
    told = report.files[0].notes
    assert "1 invoices have no customer" in told
    assert "refunded: found for 1 of 2 groups; 1 found none" in told
    refund = next(sale for sale in crm.sales.iterate() if sale.refunds_sale_id is not None)
    assert Money("40.74", "GBP") == crm.sales.get(refund.refunds_sale_id or 0).amount
    first = next(crm.sales.iterate('amount = "40.74 GBP"'))
    assert "2010-12-01T08:26:00+00:00" == first.sold_at.isoformat()  # the earliest of its rows


def test_a_second_import_in_another_order_changes_nothing(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "o.csv", ROWS))
    head = crm.session.history.head()
    for seed in range(5):
        shuffled = random.Random(seed).sample(ROWS, len(ROWS))
        again = bring(crm, write(tmp_path / "o.csv", shuffled))
        assert ((0, 0, 7, 0), head) == (counts(again), crm.session.history.head())


LATER = [
    ["C536400", "85123A", "HEART", "-2", "05/01/2011 10:00", "2.55", "17850", "United Kingdom"],
    ["C536401", "84879", "BIRD", "-1", "05/01/2011 10:00", "1.69", "13047", "United Kingdom"],
    ["536402", "71053", "LANTERN", "1", "04/01/2011 09:00", "3.39", "17850", "United Kingdom"],
    ["C536403", "71053", "LANTERN", "-1", "05/01/2011 11:00", "3.39", "17850", "United Kingdom"],
    ["C536404", "71053", "LANTERN", "-1", "03/01/2011 11:00", "3.39", "17850", "United Kingdom"],
]


def refunded(crm: CRM) -> dict[str, str]:
    """Return of each refund that names a sale its key and that of the sale."""
    ids = {
        sale.id: crm.external_ids.of("sale", [sale.id])[sale.id][0].external for sale in crm.sales.iterate()
    }  # fmt: skip
    return {ids[s.id]: ids[s.refunds_sale_id] for s in crm.sales.iterate() if s.refunds_sale_id is not None}


@on_every_database
def test_a_refund_finds_its_sale_in_what_an_earlier_file_brought(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "december.csv", ROWS))
    january = write(tmp_path / "january.csv", LATER)
    dry, report = bring(crm, january, dry_run=True), bring(crm, january)
    told = "refunded: found for 3 of 4 groups, for 2 of them in what was imported before; 1 found none"
    assert told in dry.files[0].notes
    assert told in report.files[0].notes
    assert (5, 0, 0, 0) == counts(report) == counts(dry)
    found = {"C536379": "536365", "C536400": "536365", "C536403": "536402", "C536404": "536365"}
    assert found == refunded(crm)
    head = crm.session.history.head()
    assert ((0, 0, 5, 0), head) == (counts(bring(crm, january)), crm.session.history.head())
    crm.ledger.undo(report.operation or 0)
    assert {"C536379": "536365"} == refunded(crm)


@on_every_database
def test_files_of_months_and_one_file_of_all_of_them_say_the_same(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "december.csv", ROWS))
    bring(crm, write(tmp_path / "january.csv", LATER))
    with CRM.open("memory:") as other:
        bring(other, write(tmp_path / "all.csv", [*ROWS, *LATER]))
        assert content(other) == content(crm)
    again = bring(crm, tmp_path / "all.csv")
    assert (0, 0) == (again.counts.updated, again.counts.created)


@on_every_database
def test_a_refund_that_came_before_its_sale_finds_it_when_its_file_comes_again(crm: CRM, tmp_path: Path) -> None:
    january = write(tmp_path / "january.csv", LATER[:1])
    bring(crm, january)
    bring(crm, write(tmp_path / "december.csv", ROWS))
    assert {"C536379": "536365"} == refunded(crm)
    assert (0, 1, 0, 0) == counts(bring(crm, january))
    assert {"C536379": "536365", "C536400": "536365"} == refunded(crm)


def test_a_refund_finds_its_sale_in_an_earlier_file_of_the_plan(crm: CRM, tmp_path: Path) -> None:
    write(tmp_path / "december.csv", ROWS)
    write(tmp_path / "january.csv", LATER)
    (tmp_path / "orders.toml").write_text(SHOP, encoding="utf-8")
    files = "".join(f'[[file]]\nfile = "{name}.csv"\nmap = "orders.toml"\n' for name in ("december", "january"))
    (tmp_path / "plan.toml").write_text(f'[plan]\ntitle = "Shop"\n{files}', encoding="utf-8")
    plan = load_plan(tmp_path / "plan.toml")
    dry = import_plan(crm, plan, dry_run=True)
    report = import_plan(crm, plan)
    assert dry.files[1].notes == report.files[1].notes
    assert "536365" == refunded(crm)["C536400"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('sold_at = "at"\n', "", "no field of the sale says at as a time"),
        ('customer_id = { column = "customer", ref = "customer" }\n', "", "no field says customer"),
        ('latest = "at"', 'latest = "at"\ngives = "customer"', "no record of the group has customer for its key"),
        ('kind = "kind"\n', 'kind = { value = "kind", default = "sale" }\n', "no field of the sale says kind"),
    ],
)
def test_why_only_the_file_was_searched_is_said(tmp_path: Path, old: str, new: str, why: str) -> None:
    assert old in SHOP
    with CRM.open("memory:") as crm:
        report = bring(crm, write(tmp_path / "o.csv", ROWS[3:4]), SHOP.replace(old, new))
        assert any(f"found none; only this file was searched: {why}" in note for note in report.files[0].notes)


def test_a_later_file_with_one_more_line_updates_the_invoice(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "o.csv", ROWS))
    more = [*ROWS, ["536365", "22752", "BOXES", "2", "01/12/2010 08:26", "7.65", "17850", "United Kingdom"]]
    report = bring(crm, write(tmp_path / "o.csv", more))
    assert (1, 1) == (report.types["sale"].updated, report.types["sale_line"].created)
    assert ("sale", Decimal("56.04"), 4) == sales(crm)["536365"]
    crm.ledger.undo(report.operation or 0)
    assert ("sale", Decimal("40.74"), 3) == sales(crm)["536365"]


@on_every_database
def test_an_invoice_that_lost_a_line_is_refused_unless_the_mapping_keeps_it(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "o.csv", ROWS))
    fewer = write(tmp_path / "o.csv", [row for row in ROWS if row[1] != "71053"])
    report = bring(crm, fewer)
    assert (0, 0, 4, 2) == counts(report)
    assert "1 sale lines of it are here and not in the file" in report.errors[0].message
    assert ("sale", Decimal("40.74"), 3) == sales(crm)["536365"]
    bring(crm, fewer, SHOP.replace('line = "code"', 'line = "code"\nmissing = "keep"'))
    assert ("sale", Decimal("20.40"), 3) == sales(crm)["536365"]


def test_an_invoice_with_a_bad_line_is_refused_as_a_whole(crm: CRM, tmp_path: Path) -> None:
    bad = [*ROWS[:4], [*ROWS[4][:3], "two", *ROWS[4][4:]], *ROWS[5:]]
    report = bring(crm, write(tmp_path / "o.csv", bad))
    assert (3, 0, 1, 3) == counts(report)
    assert [2, 4, 6] == [error.row for error in report.errors]
    own, others = report.errors[2], {error.message for error in report.errors[:2]}
    assert ("quantity", "two", "number", "is not a number; write it with digits") == (
        own.column,
        own.value,
        own.rule,
        own.message,
    )
    because = "row 6, which belongs to the same invoice, is refused, and none is taken without it: "
    assert {f"{because}{own.message}"} == others
    assert "536365" not in sales(crm)
    assert report.files[0].rejects_file is not None
    rejects = Path(report.files[0].rejects_file)
    with rejects.open(encoding="utf-8", newline="") as file:
        head, *rows = list(csv.reader(file))
    assert [*HEAD, "error_row", "error_column", "error_rule", "error_message"] == head
    fixed = [[cell if cell != "two" else "2" for cell in row] for row in rows]
    assert (3, 0, 0, 0) == counts(bring(crm, write(rejects, fixed, head)))
    assert ("sale", Decimal("40.74"), 3) == sales(crm)["536365"]


def test_a_row_that_cannot_be_read_takes_its_invoice_with_it(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "o.csv", [*ROWS, ["536365", "22752"]])
    report = bring(crm, path)
    assert ((3, 0, 1, 4), True) == (counts(report), "536365" not in sales(crm))
    assert {"columns", "group"} == {error.rule for error in report.errors}


def test_the_rest_of_an_invoice_is_kept_when_the_mapping_says_so(crm: CRM, tmp_path: Path) -> None:
    keeps = SHOP.replace('line = "code"', 'line = "code"\nincomplete = "keep"')
    bad = [*ROWS, ["536365", "22752", "BOXES", "x", "01/12/2010 08:26", "7.65", "17850", "UK"], ["536365", "2"]]
    report = bring(crm, write(tmp_path / "o.csv", bad), keeps)
    assert (6, 0, 1, 2) == counts(report)
    assert ("sale", Decimal("40.74"), 3) == sales(crm)["536365"]


@on_every_database
def test_what_a_look_up_refuses_takes_the_invoice_with_it_and_the_rest_is_summed_anew(crm: CRM, tmp_path: Path) -> None:
    known = SHOP.replace(
        'type = "product"\nkey = "code"', 'type = "product"\nkey = "code"\nwhen = { column = "code", not = "71053" }'
    )
    report = bring(crm, write(tmp_path / "o.csv", ROWS), known)
    assert ((3, 0, 1, 3), True) == (counts(report), "536365" not in sales(crm))
    assert "no product is known as shop:71053" in report.errors[1].message
    report = bring(
        crm, write(tmp_path / "o.csv", ROWS), known.replace('by = "invoice"', 'by = "invoice"\nincomplete = "keep"')
    )
    assert ("sale", Decimal("20.40"), 2) == sales(crm)["536365"]
    assert 1 == report.counts.rejected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({2: ("customer", "13047")}, "'17850' in rows 2, 6, '13047' in row 4; correct the file, or say"),
        ({0: ("customer", ""), 2: ("customer", "")}, "'' in rows 2, 4, '17850' in row 6"),
    ],
)
def test_rows_that_disagree_are_named(crm: CRM, tmp_path: Path, rows: dict[int, Any], message: str) -> None:
    changed = [list(row) for row in ROWS]
    for at, (column, cell) in rows.items():
        changed[at][HEAD.index(column)] = cell
    report = bring(crm, write(tmp_path / "o.csv", changed))
    assert [("customer", "group", "536365")] * 3 == [(e.column, e.rule, e.value) for e in report.errors]
    assert message in report.errors[0].message


@pytest.mark.parametrize(("policy", "expected"), [("first", "a"), ("most", "b"), ("least", "a"), ("greatest", "c")])
def test_policies_choose_one_of_several_texts(crm: CRM, tmp_path: Path, policy: str, expected: str) -> None:
    mapping = SHOP.replace('country = "first"', f'country = "first"\nwhat = "{policy}"').replace(
        'kind = "kind"\n', 'kind = "kind"\nsource = "what"\n'
    )
    rows = [[*ROWS[0][:2], what, *ROWS[0][3:]] for what in ("", "a", "b", "c", "b")]
    bring(crm, write(tmp_path / "o.csv", rows), mapping)
    assert [expected] == [sale.source for sale in crm.sales.iterate()]
    again = bring(crm, write(tmp_path / "o.csv", rows[::-1]), mapping)
    assert (0, 0) == (again.counts.created, again.counts.updated)


def test_least_and_greatest_are_of_dates_and_of_numbers(crm: CRM, tmp_path: Path) -> None:
    mapping = SHOP.replace('at = "least"', 'at = "greatest"\nprice = "greatest"').replace(
        'kind = "kind"\n', 'kind = "kind"\nsource = "price"\n'
    )
    rows = [
        [*ROWS[0][:4], at, price, *ROWS[0][6:]] for at, price in (("02/01/2011 08:00", "9"), ("31/12/2010 09:00", "10"))
    ]
    bring(crm, write(tmp_path / "o.csv", rows), mapping)
    (sale,) = crm.sales.iterate()
    assert ("2011-01-02T08:00:00+00:00", "10") == (sale.sold_at.isoformat(), sale.source)


def test_the_least_of_times_refuses_what_is_no_time(crm: CRM, tmp_path: Path) -> None:
    rows = [[*row[:4], "31/11/2010 08:00" if at == 2 else row[4], *row[5:]] for at, row in enumerate(ROWS)]
    report = bring(crm, write(tmp_path / "o.csv", rows))
    assert ("at", "31/11/2010 08:00", "date") == next(
        (error.column, error.value, error.rule) for error in report.errors if error.row == 4
    )
    assert [2, 4, 6] == [error.row for error in report.errors]


def test_lines_of_one_product_are_summed_when_the_mapping_says_so(crm: CRM, tmp_path: Path) -> None:
    summed = SHOP.replace('line = "code"', 'line = "code"\nsame_line = "sum"').replace(
        'amount = "sum"', 'amount = "sum"\nquantity = "sum"'
    )
    path = write(tmp_path / "o.csv", ROWS)
    report = bring(crm, path, summed)
    assert ("sale", Decimal("40.74"), 2) == sales(crm)["536365"]
    assert [Decimal(8)] == [line.quantity for line in crm.records("sale_line").iterate("quantity = 8")]
    assert "rows with the code of another one of the group: 1, each added to its line" in report.files[0].notes
    assert (0, 0) == counts(bring(crm, write(path, ROWS[::-1]), summed))[:2]


@pytest.mark.parametrize(
    ("same_row", "lines", "skipped", "rejected"), [("keep", 4, 1, 0), ("once", 3, 2, 0), ("reject", 0, 1, 4)]
)
def test_equal_rows_are_lines_or_one_or_refused(
    crm: CRM, tmp_path: Path, same_row: str, lines: int, skipped: int, rejected: int
) -> None:
    mapping = SHOP.replace('line = "code"', f'line = "code"\nsame_row = "{same_row}"')
    path = write(tmp_path / "o.csv", [*ROWS, ROWS[0]])
    report = bring(crm, path, mapping)
    assert (lines, skipped, rejected) == (
        sales(crm).get("536365", ("", None, 0))[2],
        sum(report.skipped.values()),
        report.counts.rejected,
    )
    if same_row == "keep":
        assert "1 row is equal to another one of the group in every cell: each is a line" in report.files[0].notes
    if same_row == "reject":
        assert "is equal to row 2 in every cell; leave one of them out" in {error.message for error in report.errors}


def test_a_row_without_the_key_of_its_group_is_refused(crm: CRM, tmp_path: Path) -> None:
    report = bring(crm, write(tmp_path / "o.csv", [*ROWS, ["", *ROWS[0][1:]]]))
    assert [(9, "invoice", "key", "is empty, so the row belongs to no group; fill it in")] == [
        (error.row, error.column, error.rule, error.message) for error in report.errors
    ]


def test_a_column_that_is_no_group_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "MOST", 50)
    rows = [["1", f"P{at}", "x", "1", "01/12/2010 08:26", "1", "", "UK"] for at in range(120)]
    with CRM.open("memory:") as crm:
        report = bring(crm, write(tmp_path / "o.csv", [*rows, ["2", *rows[0][1:]]]))
        assert ((1, 0, 0, 120), {"2"}) == (counts(report), set(sales(crm)))
        assert "more than 50 rows have this key: is invoice what tells the groups apart?" == report.errors[0].message
        assert list(range(2, 122)) == [error.row for error in report.errors]


def test_groups_are_gone_when_they_are_written_without_a_search_for_cycles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Group]] = []

    def noted(*given: Any) -> Group:
        group = Group(*given)
        made.append(weakref.ref(group))
        return group

    monkeypatch.setattr(staging, "Group", noted)
    with CRM.open("memory:") as crm:
        gc.disable()
        try:
            report = bring(crm, write(tmp_path / "o.csv", ROWS[:4]))
            assert len(made) == report.types["sale"].created == 3
            assert [] == [group() for group in made if group() is not None]
        finally:
            gc.enable()


def test_a_rule_refuses_with_its_reason(crm: CRM, tmp_path: Path) -> None:
    mapping = SHOP.replace("skip = true", 'reject = "every line has a price"')
    report = bring(crm, write(tmp_path / "o.csv", ROWS), mapping)
    assert [(7, "rule", "no price: every line has a price")] == [(e.row, e.rule, e.message) for e in report.errors]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('by = "invoice"', 'by = "bill"', r"\[group\]: by: o.csv has no column 'bill'"),
        ('by = "invoice"', "", r"\[group\]: by is missing"),
        ('at = "least"', 'at = "smallest"', r"\[group\]: \[columns\]: at must be same or first or most"),
        ('line = "code"', "", r'per = "line" needs \[group\] line'),
        ('per = "line"', 'per = "lines"', "per must be row or group or line"),
        ('latest = "at"', "", r"\[match.refunded\] needs when, among, same and latest"),
        (
            'column = "customer", ref = "customer"',
            'column = "customer", ref = "customer", later = true',
            "later cannot be",
        ),
        ("skip = true", "", "needs name, when and one of: skip, reject"),
        ('amount = "sum"', 'amount = "sum"\nwho = "first"', "has no column 'who'"),
        ("sign = { choose", "price = { choose", r"\[columns\]: there is a column 'price' already"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SHOP
    with CRM.open("memory:") as crm, pytest.raises(MappingError, match=told):
        bring(crm, write(tmp_path / "o.csv", ROWS), SHOP.replace(old, new, 1))


class NoMarmalade:
    @hookimpl
    def before_customers_change(self, event: CustomersChanging) -> list[Veto]:
        return [Veto(i, "name", "none of that") for i, c in enumerate(event.changes) if c.record.name == "bad"]


def test_a_record_that_repeats_is_made_by_the_next_row_when_the_first_is_refused(tmp_path: Path) -> None:
    rows = [
        [str(at), "P1", f"name {at}", "1", "01/12/2010 08:26", "1", who, "UK"] for at, who in enumerate(["bad", "good"])
    ]
    path = write(tmp_path / "o.csv", rows)
    with CRM.open("memory:", plugins=[NoMarmalade()]) as crm:
        dry = bring(crm, path, dry_run=True)
        report = bring(crm, path)
        assert ((1, 0, 0, 1), dry.types) == (counts(report), report.types)
        assert ["name 1"] == [product.name for product in crm.records("product").iterate()]


@pytest.mark.parametrize("size", [1, 4, 1_000])
def test_the_records_of_a_refused_row_count_as_refused_wherever_a_chunk_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(pace, "_FIRST", size)
    days = ["01/12/2010 08:26", "31/11/2010 08:26"]
    rows = [[str(at), "P1", "tea", "1", days[at % 2], "1", "A", "UK"] for at in range(10)]
    path = write(tmp_path / "o.csv", rows)
    with CRM.open("memory:") as crm:
        types = {name: (each.created, each.unchanged, each.rejected) for name, each in bring(crm, path).types.items()}
    assert ((1, 4, 5), (1, 4, 5)) == (types["customer"], types["product"])


line = st.tuples(
    st.sampled_from(["1", "2", "3", "C4", "C5", ""]),
    st.sampled_from(["P1", "P2", "P3", "POST"]),
    st.sampled_from(["", "tea", "چای", "tea cup"]),
    st.sampled_from(["1", "2", "-1", "0", "x"]),
    st.sampled_from(["01/12/2010 08:26", "02/12/2010 08:00", "31/11/2010 08:00"]),
    st.sampled_from(["1.5", "2", "0", "0.333", "-3"]),
    st.sampled_from(["", "A", "B", "bad"]),
    st.sampled_from(["UK", "DE"]),
).map(list)
VARIANTS = [
    SHOP.replace('country = "first"', 'country = "least"\ncustomer = "greatest"'),
    SHOP.replace('line = "code"', 'line = "code"\nincomplete = "keep"\nmissing = "keep"').replace(
        'country = "first"', 'country = "most"\ncustomer = "most"'
    ),
    SHOP.replace('line = "code"', 'line = "code"\nsame_line = "sum"\nsame_row = "once"').replace(
        'amount = "sum"', 'amount = "sum"\nquantity = "sum"'
    ),
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(line, max_size=12),
    seed=st.integers(0, 9),
    mapping=st.sampled_from(VARIANTS),
    size=st.sampled_from([1, 3, 1_000]),
)
def test_shuffled_equals_ordered_dry_equals_real_twice_equals_once_and_undo_restores(
    rows: list[list[str]], seed: int, mapping: str, size: int, tmp_path: Path
) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    with (
        pytest.MonkeyPatch.context() as patch,
        CRM.open("memory:", plugins=[NoMarmalade()]) as crm,
        CRM.open("memory:", plugins=[NoMarmalade()]) as other,
    ):
        patch.setattr(pace, "_FIRST", size)
        path = write(tmp_path / "o.csv", rows)
        dry = bring(crm, path, mapping, dry_run=True)
        real = bring(crm, path, mapping)
        assert [dry.counts, dry.types, dry.errors, dry.skipped] == [real.counts, real.types, real.errors, real.skipped]
        once, operation = digest(crm), real.operation
        mixed = bring(other, write(path, shuffled), mapping)
        assert (once, real.counts, real.types) == (digest(other), mixed.counts, mixed.types)
        again = bring(crm, path, mapping)
        assert (once, 0, 0) == (digest(crm), again.counts.created, again.counts.updated)
        whole = {key: value[2] for key, value in sales(crm).items()}
        assert 0 not in whole.values(), "a sale has lines"
        assert operation is not None
        if real.counts.created:
            crm.ledger.undo(operation)
        assert (0, 0, 0) == (crm.sales.count(), crm.customers.count(), crm.records("sale_line").count())


KILLED = """
import os, signal, sys
from pathlib import Path
from crm_core import CRM
from crm_transfer.importing import import_file
from crm_transfer.mapping import load_mapping

def told(done, total, name):
    if done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

with CRM.open(sys.argv[1]) as crm:
    import_file(crm, Path(sys.argv[2]), load_mapping(Path(sys.argv[3])), progress=told)
"""


@pytest.mark.database("sqlite")
@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: no SIGKILL on this system")
def test_killed_between_groups_and_resumed_equals_one_clean_run(tmp_path: Path) -> None:
    rows = [
        [f"{at % 900}", f"P{at % 7}", "x", "1", "01/12/2010 08:26", f"{at % 5 + 1}", f"{at % 900 % 50}", "UK"]
        for at in range(3_000)
    ]
    path = write(tmp_path / "o.csv", rows)
    (tmp_path / "m.toml").write_text(SHOP, encoding="utf-8")
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    arguments = [url, str(path), str(tmp_path / "m.toml"), "1500"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert -signal.SIGKILL == killed.returncode, killed.stderr.decode()
    with CRM.open(url) as crm, CRM.open(f"sqlite:///{tmp_path / 'clean.db'}") as clean:
        half = sales(crm)
        assert 0 < len(half) < 900
        cut_off = crm.ledger.operations(limit=1)[0]
        resume_import(crm, cut_off.id)
        bring(clean, path)
        whole = sales(clean)
        assert {key: whole[key] for key in half} == half, "what was there was whole"
        assert (digest(clean), 900) == (digest(crm), crm.sales.count())
        crm.ledger.undo(cut_off.id)
        assert (0, 0) == (crm.sales.count(), crm.records("sale_line").count())
