from __future__ import annotations

import csv
import gc
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer, Money, User, hookimpl
from crm_core.errors import UsageError
from crm_core.events import CustomersChanging, Veto
from crm_transfer import lookup, pace
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.importing import import_file, resume_import
from crm_transfer.mapping import parse_mapping
from crm_transfer.report import ImportReport

_here = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("transfer_content", _here / "content.py")
assert _spec is not None
assert _spec.loader is not None
_content = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_content)
content, digest = _content.content, _content.digest

PEOPLE = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
city = "city"
first_contact_at = "since"
[[record]]
type = "contact_point"
key = ["no", { const = "phone" }]
when = { column = "phone", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "phone" }
value = "phone"
"""
HEAD = ["no", "name", "city", "since", "phone"]
ADA = ["1", "Ada", "London", "2020-01-01", "+44 20 1234"]
SARA = ["2", "سارا", "تهران", "2020-01-02", ""]


@pytest.fixture(params=["memory:", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    if request.param == "sqlite":
        request.node.user_properties.append(("database", "sqlite"))
    url = "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url) as opened:
        yield opened


def write(path: Path, rows: list[list[str]], head: list[str] = HEAD) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return path


def bring(crm: CRM, path: Path, mapping: str = PEOPLE, **options: Any) -> ImportReport:
    report = import_file(crm, path, parse_mapping(mapping), **options)
    for counts in [report.counts, *report.types.values()]:
        assert counts.read == counts.created + counts.updated + counts.unchanged + counts.rejected
    return report


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    found = report.counts
    return found.created, found.updated, found.unchanged, found.rejected


def test_rows_become_records(crm: CRM, tmp_path: Path) -> None:
    report = bring(crm, write(tmp_path / "p.csv", [ADA, SARA]))
    assert (2, 0, 0, 0) == counts(report)
    assert {"Ada": "London", "سارا": "تهران"} == {c.name: c.city for c in crm.customers.iterate()}
    assert ["+44201234"] == [point.key for point in crm.contact_points.iterate()]


def test_importing_twice_changes_nothing(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA, SARA])
    bring(crm, path)
    before = crm.session.history.head()
    again = bring(crm, path)
    assert ((0, 0, 2, 0), before) == (counts(again), crm.session.history.head())


def test_a_record_that_two_columns_name_is_noted_for_both_the_first_time(crm: CRM, tmp_path: Path) -> None:
    mapping = """
        [file]
        system = "funnel"
        [[record]]
        type = "user"
        key = "opener"
        [record.fields]
        name = "opener"
        [[record]]
        type = "user"
        key = "closer"
        [record.fields]
        name = "closer"
    """
    path = tmp_path / "funnel.csv"
    path.write_text("opener,closer\nAni,Sara\nSara,Ani\nAni,Ani\n", encoding="utf-8")
    bring(crm, path, mapping)
    assert ["Ani", "Sara"] == sorted(user.name for user in crm.users.iterate())
    before = crm.session.history.head()
    bring(crm, path, mapping)
    assert before == crm.session.history.head()


def test_one_key_has_one_spelling(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "p.csv", [["Zo\u00eb", "a", "", "", ""], ["می\u200cخواهم", "b", "", "", "+44 1 2345"]]))
    again = write(tmp_path / "q.csv", [["Zoe\u0308", "a", "", "", ""], ["\u200fمیخواهم", "b", "", "", "+44 1 2345"]])
    bring(crm, again)
    assert (2, 1) == (crm.customers.count(), crm.contact_points.count())


def test_a_changed_row_changes_only_what_changed(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA, SARA])
    bring(crm, path)
    ada = next(crm.customers.iterate('name = "Ada"'))
    crm.customers.edit(ada.evolve(country="GB"))
    report = bring(crm, write(path, [["1", "Ada Lovelace", *ADA[2:]], SARA]))
    changed = crm.customers.get(ada.id)
    assert ((0, 1, 1, 0), "Ada Lovelace", "GB") == (counts(report), changed.name, changed.country)


def test_a_human_edit_stays_while_the_row_does_not_change(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA])
    bring(crm, path)
    ada = next(crm.customers.iterate())
    crm.customers.edit(ada.evolve(city="Ockham"))
    bring(crm, path)
    assert "Ockham" == crm.customers.get(ada.id).city


def test_rejected_rows_say_why_and_can_be_imported_again(crm: CRM, tmp_path: Path) -> None:
    rows = [ADA, ["2", "Bob", "Rome", "12/03/2021", ""], ["", "Eve", "", "", ""], ["4", "Dan", "", "", "4.41E+11"]]
    report = bring(crm, write(tmp_path / "p.csv", rows))
    assert (1, 0, 0, 3) == counts(report)
    assert [(3, "since", "date"), (4, "no", "key"), (5, "phone", "phone")] == [
        (error.row, error.column, error.rule) for error in report.errors
    ]
    assert report.files[0].rejects_file is not None
    rejects = Path(report.files[0].rejects_file)
    with rejects.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert ["3", "4", "5"] == [row["error_row"] for row in found]
    fixed = [["2", "Bob", "Rome", "2021-03-12", ""], ["3", "Eve", "", "", ""], ["4", "Dan", "", "", "+44 1 2345"]]
    extra = [[*row, "", "", "", ""] for row in fixed]
    again = bring(crm, write(rejects, extra, [*HEAD, "error_row", "error_column", "error_rule", "error_message"]))
    assert ((3, 0, 0, 0), 4) == (counts(again), crm.customers.count())


def test_duplicates_inside_a_file_are_named_in_pairs(crm: CRM, tmp_path: Path) -> None:
    report = bring(crm, write(tmp_path / "p.csv", [ADA, SARA, ["1", "Again", "", "", ""]]))
    assert (2, 0, 0, 1) == counts(report)
    assert report.errors[0].message.startswith("rows 2 and 4 have the same key; only row 2 is taken: ")


def test_duplicates_are_named_across_chunks_and_equal_cells_read_alike(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_FIRST", 2)
    rows = [[f"C{number % 5}", "Ada" if number % 2 else f"Bob {number}", "", "", ""] for number in range(9)]
    report = bring(crm, write(tmp_path / "people.csv", rows))
    assert (5, 4) == (report.counts.created, report.counts.rejected)
    assert [(number, number - 5) for number in range(7, 11)] == [
        (error.row, int(error.message.split()[1])) for error in report.errors
    ]
    assert ["Ada", "Ada", "Bob 0", "Bob 2", "Bob 4"] == sorted(str(one.name) for one in crm.customers.find(limit=None))


def test_the_collector_is_left_as_it_was(crm: CRM, tmp_path: Path) -> None:
    before = gc.get_threshold()
    bring(crm, write(tmp_path / "people.csv", [["C1", "Ada", "", "", ""]]))
    assert before == gc.get_threshold()


def test_a_row_of_a_deleted_record_says_so(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [SARA])
    bring(crm, path)
    crm.customers.delete(next(crm.customers.iterate()))
    report = bring(crm, path)
    assert ((0, 0, 0, 1), "gone") == (counts(report), report.errors[0].rule)
    assert "was deleted" in report.errors[0].message


def test_a_row_of_a_merged_record_is_unchanged_or_names_the_survivor(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA, SARA])
    bring(crm, path)
    ada, sara = (crm.resolve("customer", f"t:{number}") for number in ("1", "2"))
    crm.customers.merge(ada, sara)
    assert (0, 0, 2, 0) == counts(bring(crm, path))
    changed = write(tmp_path / "p.csv", [ADA, [*SARA[:2], "شیراز", *SARA[3:]]])
    report = bring(crm, changed)
    assert ((0, 0, 1, 1), "gone") == (counts(report), report.errors[0].rule)
    assert "was merged into t:1" in report.errors[0].message
    crm.ledger.undo(next(one.id for one in crm.ledger.operations() if one.kind == "merge"))
    assert (0, 1, 1, 0) == counts(bring(crm, changed))


def test_a_row_that_points_at_a_merged_record_reaches_the_survivor(crm: CRM, tmp_path: Path) -> None:
    bring(crm, write(tmp_path / "p.csv", [ADA, SARA]))
    ada, sara = (crm.resolve("customer", f"t:{number}") for number in ("1", "2"))
    crm.customers.merge(ada, sara)
    mapping = """
[file]
system = "t"
[[record]]
type = "deal"
key = "no"
[record.fields]
title = "title"
customer_id = { column = "who", ref = "customer" }
"""
    report = bring(crm, write(tmp_path / "d.csv", [["D1", "Licence", "2"]], ["no", "title", "who"]), mapping)
    assert (1, 0, 0, 0) == counts(report)
    assert [ada] == [deal.customer_id for deal in crm.deals.find()]


def test_a_row_of_an_erased_person_is_refused_whatever_it_says(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA, SARA])
    bring(crm, path)
    crm.privacy.erase(crm.resolve("customer", "t:1"))
    for rows in ([ADA, SARA], [[*ADA[:2], "Paris", *ADA[3:]], SARA]):
        report = bring(crm, write(path, rows))
        assert ((0, 0, 1, 1), "gone") == (counts(report), report.errors[0].rule)
        assert "was erased" in report.errors[0].message
    assert 0 == crm.contact_points.count()
    assert [None, "سارا"] == [one.name for one in crm.customers.find()]


class NoBob:
    @hookimpl
    def before_customers_change(self, event: CustomersChanging) -> list[Veto]:
        return [Veto(i, "name", "no Bobs") for i, c in enumerate(event.changes) if c.record.name == "Bob"]


def test_a_veto_rejects_its_row_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    with CRM.open("memory:", plugins=[NoBob()]) as crm:
        report = bring(crm, write(tmp_path / "p.csv", [ADA, ["2", "Bob", "", "", "+44 1 2345"]]))
        assert ((1, 0, 0, 1), 1, 1) == (counts(report), crm.customers.count(), crm.contact_points.count())
        assert "no Bobs" in report.errors[0].message


def test_an_import_can_be_undone_and_done_again(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA, SARA])
    report = bring(crm, path)
    assert report.operation is not None
    once = digest(crm)
    crm.ledger.undo(report.operation)
    assert 0 == crm.customers.count()
    assert ((2, 0, 0, 0), once) == (counts(bring(crm, path)), digest(crm))


TREE = """
[file]
system = "t"
[[record]]
type = "user"
key = "no"
[record.fields]
name = "no"
manager_id = { column = "boss", ref = "user", later = true }
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "no"
[[record]]
type = "relation"
key = "no"
when = { column = "boss", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
other_id = { column = "boss", ref = "customer", later = true }
kind = { const = "subsidiary of" }
"""


def test_references_to_later_rows_are_linked_at_the_end(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [["a", "c"], ["b", "a"], ["c", "d"], ["d", ""]], ["no", "boss"])
    report = bring(crm, path, TREE)
    names = {user.id: user.name for user in crm.users.iterate()}
    bosses = {user.name: names.get(user.manager_id or 0) for user in crm.users.iterate()}
    assert ((4, 0, 0, 0), {"a": "c", "b": "a", "c": "d", "d": None}) == (counts(report), bosses)
    assert 3 == crm.relations.count()
    assert (0, 0, 4, 0) == counts(bring(crm, path, TREE))


def test_a_reference_to_nothing_rejects_the_row(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [["a", "b"], ["b", ""], ["c", "nobody"]], ["no", "boss"])
    report = bring(crm, path, TREE)
    assert ((2, 0, 0, 1), [(4, "boss", "nobody")]) == (
        counts(report),
        [(error.row, error.column, error.value) for error in report.errors],
    )


DEALS = """
[file]
system = "t"
[[record]]
type = "deal"
key = "no"
[record.fields]
title = "no"
customer_id = { column = "customer", ref = "customer" }
owner_id = { column = "owner", ref = "user" }
"""


def test_names_that_were_looked_up_are_forgotten_between_chunks_only(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "_REMEMBERED", 3)
    crm.customers.add_many([Customer(name=f"C{n}") for n in range(9)], externals=[("t", f"c{n}") for n in range(9)])
    crm.users.add_many([User(name=f"U{n}") for n in range(9)], externals=[("t", f"u{n}") for n in range(9)])
    rows = [[f"d{n}", f"c{n}", f"u{n}"] for n in range(9)]
    report = bring(crm, write(tmp_path / "d.csv", rows, ["no", "customer", "owner"]), DEALS)
    assert ((9, 0, 0, 0), []) == (counts(report), report.errors)
    customers = {one.id: one.name for one in crm.customers.iterate()}
    assert [f"C{n}" for n in range(9)] == [customers[one.customer_id] for one in crm.deals.find(sort="title").records]


def test_references_may_be_names(crm: CRM, tmp_path: Path) -> None:
    from crm_core import User

    ali = crm.users.add(User(name="علی كاظمي"))
    crm.users.add(User(name="Twin"))
    crm.users.add(User(name="Twin"))
    mapping = (
        '[file]\nsystem = "t"\n[[record]]\ntype = "customer"\nkey = "no"\n[record.fields]\n'
        'owner_id = { column = "owner", ref = "user", by = "name" }\n'
    )
    path = write(tmp_path / "o.csv", [["1", "علی کاظمی"], ["2", "Twin"], ["3", "Nobody"], ["4", ""]], ["no", "owner"])
    report = bring(crm, path, mapping)
    assert (2, 0, 0, 2) == counts(report)
    assert ["ambiguous", "reference"] == [error.rule for error in report.errors]
    assert {ali.id, None} == {customer.owner_id for customer in crm.customers.iterate()}


def test_history_does_not_set_off_sales(crm: CRM, tmp_path: Path) -> None:
    mapping = (
        '[file]\nsystem = "t"\ncurrency = "USD"\n[[record]]\ntype = "deal"\nkey = "no"\n[record.fields]\n'
        'title = "no"\nstage = "stage"\namount = { column = "amount", thousands = "," }\nclosed_at = "closed"\n'
    )
    rows = [["1", "WON", "1,200.50", "2017-03-01"], ["2", "Nowhere", "", ""]]
    report = bring(crm, write(tmp_path / "d.csv", rows, ["no", "stage", "amount", "closed"]), mapping)
    deal = next(crm.deals.iterate())
    assert ("won", "won", Money("1200.50", "USD"), 0) == (deal.stage, deal.status, deal.amount, crm.sales.count())
    assert [("stage", "stage", "Nowhere")] == [(e.column, e.rule, e.value) for e in report.errors]


def test_value_maps_fixes_defaults_and_conditions(crm: CRM, tmp_path: Path) -> None:
    mapping = """
[file]
system = "t"
null_if = ["n/a"]
[[record]]
type = "customer"
key = "no"
[record.fields]
kind = { column = "k", map = { P = "person", O = "organisation" }, unmapped = "reject" }
industry = { column = "i", fix = { technolgy = "technology" }, default = "other" }
name = { template = "{no}-{i}" }
tags = { column = "t", separator = ";" }
[[check]]
when = { column = "i", given = false }
say = "{count} of {rows} have no industry"
"""
    rows = [["1", "P", "technolgy", "a; b;a"], ["2", "O", "", ""], ["3", "X", "n/a", ""]]
    report = bring(crm, write(tmp_path / "v.csv", rows, ["no", "k", "i", "t"]), mapping)
    found = {c.name: (c.kind, c.industry, tuple(sorted(c.tags))) for c in crm.customers.iterate()}
    assert {"1-technolgy": ("person", "technology", ("a", "b")), "2-": ("organisation", "other", ())} == found
    assert "value_map" == report.errors[0].rule
    assert "1 of 3 have no industry" in report.files[0].notes
    assert "'technolgy' in i is read as 'technology' (1 row)" in report.files[0].notes


def test_a_formula_is_stored_as_it_is_and_survives_the_round_trip(crm: CRM, tmp_path: Path) -> None:
    from crm_transfer.exporting import export_records, exporter_for

    rows = [["1", "=cmd()", "＋x", "", "+98 912 345 6789"], ["2", "@b", "-c", "", ""]]
    bring(crm, write(tmp_path / "p.csv", rows))
    out = tmp_path / "out.csv"
    export_records(
        crm, "customers", exporter=exporter_for(crm, None, out), path=out, columns=["external_id", "name", "city"]
    )
    assert ["external_id,name,city", "t:1,'=cmd(),'＋x", "t:2,'@b,'-c"] == out.read_text(encoding="utf-8").splitlines()
    mapping = (
        '[file]\nsystem = "back"\n[[record]]\ntype = "customer"\nkey = "external_id"\n[record.fields]\nname = "name"\n'
    )
    bring(crm, out, mapping)
    assert ["=cmd()", "=cmd()", "@b", "@b"] == sorted(str(c.name) for c in crm.customers.iterate())


def test_a_fault_of_the_whole_file_writes_nothing(crm: CRM, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("no,name,city,since,phone\n" + "1,a,b,,\n" * 5 + '9,"never closed', encoding="utf-8")
    with pytest.raises(FileFault):
        bring(crm, path)
    with pytest.raises(MappingError):
        bring(crm, write(path, [["1"]], ["no"]))
    with pytest.raises(FileFault):
        bring(crm, tmp_path / "absent.csv")
    assert ([], 0) == (crm.ledger.operations(), crm.customers.count())


def test_a_dry_run_writes_nothing(crm: CRM, tmp_path: Path) -> None:
    report = bring(crm, write(tmp_path / "p.csv", [ADA, SARA, ["", "x", "", "", ""]]), dry_run=True)
    assert ((2, 0, 0, 1), None) == (counts(report), report.operation)
    assert ([], 0, 0) == (crm.ledger.operations(), crm.customers.count(), crm.external_ids.count())
    assert not (tmp_path / "p.rejects.csv").exists()


@pytest.mark.database("sqlite")
@pytest.mark.parametrize("dry_run", [True, False])
def test_others_work_while_an_import_runs(tmp_path: Path, dry_run: bool) -> None:
    path = write(tmp_path / "p.csv", [[str(number), f"Name {number}", "", "", ""] for number in range(1_500)])
    url = f"sqlite:///{tmp_path}/crm.db"
    with CRM.open(url) as crm, CRM.open(url) as other:
        added = []

        def work(done: int, total: int, name: str) -> None:
            thread = threading.Thread(target=lambda: added.append(other.customers.add(Customer(name=f"Other {done}"))))
            thread.start()
            thread.join()

        report = import_file(crm, path, parse_mapping(PEOPLE), dry_run=dry_run, progress=work)
        assert 1_500 == report.counts.created
        assert len(added) > 1
        assert len(added) + (0 if dry_run else 1_500) == crm.customers.count()


def test_a_reject_file_in_which_somebody_works_is_never_overwritten(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [ADA, ["", "x", "", "", ""]])
    first = Path(bring(crm, path).files[0].rejects_file or "")
    assert str(first) == bring(crm, path).files[0].rejects_file, "the same rows again"
    first.write_text("no,name\n7,being corrected\n", encoding="utf-8")
    second = Path(bring(crm, path).files[0].rejects_file or "")
    assert ("p.rejects.csv", "p.rejects-2.csv") == (first.name, second.name)
    assert "being corrected" in first.read_text(encoding="utf-8")
    assert ["p.csv", "p.rejects-2.csv", "p.rejects.csv"] == sorted(one.name for one in tmp_path.glob("*.csv"))


def test_an_own_field_and_a_decimal_are_mapped(tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_text(
        '[crm]\ncurrency = "EUR"\n[storage]\nurl = "memory:"\n'
        '[fields.customer.size]\ntype = "decimal"\nlabel = "Size"\nscale = 1\n',
        encoding="utf-8",
    )
    mapping = '[file]\nsystem = "t"\n[[record]]\ntype = "customer"\nkey = "no"\n[record.fields]\nfields.size = "s"\n'
    with CRM.open(tmp_path) as crm:
        report = bring(crm, write(tmp_path / "p.csv", [["1", "2.5"], ["2", "2.55"]], ["no", "s"]), mapping)
        assert ((1, 0, 0, 1), Decimal("2.5")) == (counts(report), next(crm.customers.iterate()).fields["size"])


cell = st.sampled_from(["", "1", "2", "3", "4", "x"])
row = st.tuples(
    cell,
    st.sampled_from(["", "Ada", "Bob", "سارا", "x" * 401]),
    st.sampled_from(["", "Rome", "=x"]),
    st.sampled_from(["", "2020-01-01", "01/02/2020", "1404-01-01"]),
    st.sampled_from(["", "+44 1 2345", "no phone"]),
).map(list)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.lists(row, max_size=8), second=st.lists(row, max_size=8))
def test_a_dry_run_equals_the_real_run_and_twice_equals_once(
    first: list[list[str]], second: list[list[str]], tmp_path: Path
) -> None:
    with CRM.open("memory:", plugins=[NoBob()]) as crm:
        for rows in (first, second):
            path = write(tmp_path / "p.csv", rows)
            dry = bring(crm, path, dry_run=True)
            real = bring(crm, path)
            assert [dry.counts, dry.types, dry.errors] == [real.counts, real.types, real.errors]
            once = digest(crm)
            again = bring(crm, path)
            assert (once, 0, 0) == (digest(crm), again.counts.created, again.counts.updated)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bosses=st.lists(st.sampled_from(["", *"abcdefgh", "nobody"]), min_size=1, max_size=8))
def test_links_are_the_same_in_a_dry_run_and_the_second_time(bosses: list[str], tmp_path: Path) -> None:
    names = "abcdefgh"[: len(bosses)]
    rows = [[name, "" if boss == name else boss] for name, boss in zip(names, bosses, strict=True)]
    path = write(tmp_path / "t.csv", rows, ["no", "boss"])
    with CRM.open("memory:") as crm:
        dry = bring(crm, path, TREE, dry_run=True)
        real = bring(crm, path, TREE)
        assert [dry.counts, dry.types, dry.errors] == [real.counts, real.types, real.errors]
        once = digest(crm)
        again = bring(crm, path, TREE)
        assert (once, real.counts.rejected) == (digest(crm), again.counts.rejected)


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
@pytest.mark.parametrize("after", [1, 900])
def test_killed_and_resumed_equals_one_clean_run(tmp_path: Path, after: int) -> None:
    rows = [[f"{n}", f"Name {n}", "", "2020-01-01", f"+44 {n:06}" if n % 3 else ""] for n in range(2_000)]
    path = write(tmp_path / "p.csv", rows)
    (tmp_path / "m.toml").write_text(PEOPLE, encoding="utf-8")
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    arguments = [url, str(path), str(tmp_path / "m.toml"), str(after)]
    run = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert -signal.SIGKILL == run.returncode, run.stderr.decode()
    with CRM.open(url) as crm:
        cut_off = crm.ledger.operations(limit=1)[0]
        assert ("import", "incomplete") == (cut_off.kind, cut_off.state)
        assert 0 < crm.customers.count() < 2_000
        report = resume_import(crm, cut_off.id)
        assert (cut_off.id, "done") == (report.operation, crm.ledger.get(cut_off.id).state)
        with pytest.raises(UsageError):
            resume_import(crm, cut_off.id)
        with CRM.open(f"sqlite:///{tmp_path / 'clean.db'}") as clean:
            bring(clean, path)
            assert digest(clean) == digest(crm)
        crm.ledger.undo(cut_off.id)
        assert (0, 0) == (crm.customers.count(), crm.contact_points.count())


def test_of_a_row_refused_halfway_nothing_is_written(tmp_path: Path) -> None:
    mapping = parse_mapping(
        """
        [file]
        system = "t"
        [[record]]
        type = "customer"
        key = "no"
        [record.fields]
        name = "name"
        [[record]]
        type = "sale"
        key = "no"
        [record.fields]
        customer_id = { column = "no", ref = "customer" }
        sold_at = "on"
        amount = { column = "paid", currency = "EUR" }
        """
    )
    path = tmp_path / "p.csv"
    path.write_text("no,name,on,paid\n1,Ada,2026-01-01,5\n2,Bob,2026-01-01,-5\n3,Cy,2026-01-01,7\n", encoding="utf-8")
    with CRM.open("memory:") as crm:
        dry = import_file(crm, path, mapping, dry_run=True)
        report = import_file(crm, path, mapping)
        assert (2, 1) == (report.counts.created, report.counts.rejected)
        assert dry.counts == report.counts
        assert dry.types == report.types
        (error,) = report.errors
        assert (3, "paid", "-5", "not_negative") == (error.row, error.column, error.value, error.rule)
        assert {"Ada", "Cy"} == {customer.name for customer in crm.customers.iterate()}
        assert 2 == crm.sales.count()


OWNED = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
owner_id = { column = "owner", ref = "user", by = "name", map = { "Boss" = "Sara Kazemi" } }
kind = { column = "kind", map = { P = "person", Org = "organisation" }, unmapped = "reject" }
"""


def test_names_that_match_nobody_get_the_nearest_with_their_ids(crm: CRM, tmp_path: Path) -> None:
    from crm_core import User
    from crm_core.values import format_id

    sara = crm.users.add(User(name="Sara Kazemi"))
    twins = [crm.users.add(User(name="Twin"), external=("hr", f"{n}")) for n in range(2)]
    rows = [["1", "Sara Kasemi", "P"], ["2", "kazemi sara", "P"], ["3", "Twin", "P"], ["4", "Zebedee", "P"]]
    path = write(tmp_path / "o.csv", [*rows, ["5", "Boss", "Orgg"], ["6", "Boss", "Org"]], ["no", "owner", "kind"])
    report = bring(crm, path, OWNED)
    assert (1, 0, 0, 5) == counts(report)
    told = [error.message for error in report.errors]
    meant = f"is the name of no user; did you mean 'Sara Kazemi' ({format_id(sara.id)})?"
    assert [meant, meant] == told[:2]
    assert f"is the name of several users: {format_id(twins[0].id)} (hr:0), {format_id(twins[1].id)} (hr:1)" in told[2]
    assert "is the name of no user; correct it, or add that user first" == told[3]
    assert "is not in the value map (P, Org); did you mean 'Org'?" == told[4]
    assert sara.id == next(crm.customers.iterate()).owner_id


@pytest.mark.database("sqlite")
def test_what_an_import_adds_to_the_workspace_is_told_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_text(
        '[crm]\ncurrency = "EUR"\n[storage]\nurl = "sqlite:///crm.db"\n', encoding="utf-8"
    )
    path = tmp_path / "c.csv"
    path.write_text("no,name,sector\n1,Ada,bank\n", encoding="utf-8")
    mapping = parse_mapping(
        '[file]\nsystem = "t"\n[fields.customer.sector]\ntype = "text"\n[[record]]\ntype = "customer"\nkey = "no"\n'
        '[record.fields]\nname = "name"\n"fields.sector" = "sector"\n'
    )
    with CRM.open(tmp_path) as crm:
        dry = import_file(crm, path, mapping, dry_run=True)
        assert ["the import will add to crm.toml: fields.customer.sector"] == dry.notes
        told = import_file(crm, path, mapping).notes
        assert ["added to crm.toml: fields.customer.sector; undoing the import leaves them there"] == told
        assert [] == import_file(crm, path, mapping).notes
