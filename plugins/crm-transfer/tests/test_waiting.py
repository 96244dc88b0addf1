"""A row whose record waits for something that never comes is rejected whole: nothing of it is written."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from crm_core import CRM, Customer, hookimpl
from crm_core.events import DealsChanging, Veto
from crm_transfer import run
from crm_transfer.importing import import_file, import_plan, resume_import
from crm_transfer.mapping import parse_mapping
from crm_transfer.plan import load_plan
from crm_transfer.report import Counts, ImportReport

_spec = importlib.util.spec_from_file_location("transfer_content", Path(__file__).parent / "content.py")
assert _spec is not None
assert _spec.loader is not None
_content = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_content)
digest = _content.digest

DEALS = """
[file]
system = "t"
[[record]]
type = "deal"
key = "no"
[record.fields]
title = "title"
customer_id = { column = "c", ref = "customer", later = true }
"""
TWO = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "title"
[[record]]
type = "relation"
key = "no"
when = { column = "c", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
other_id = { column = "c", ref = "customer", later = true }
kind = { const = "subsidiary of" }
"""
SHARED = """
[file]
system = "t"
[[record]]
type = "customer"
key = "who"
repeats = true
[record.fields]
name = "who"
[[record]]
type = "deal"
key = "no"
[record.fields]
title = "title"
customer_id = { column = "who", ref = "customer" }
owner_id = { column = "c", ref = "user", later = true }
"""
PARTS = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
when = { column = "title", given = true }
[record.fields]
name = "title"
owner_id = { column = "c", ref = "user", later = true }
[[record]]
type = "contact_point"
key = "no"
when = { column = "title", given = false }
[record.fields]
customer_id = { column = "who", ref = "customer" }
kind = { const = "phone" }
value = { const = "+44 20 1234" }
"""
HEAD = ["no", "title", "c"]


@pytest.fixture(params=["memory:", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    if request.param == "sqlite":
        request.node.user_properties.append(("database", "sqlite"))
    url = "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url) as opened:
        yield opened


def write(path: Path, rows: Sequence[Sequence[str]], head: Sequence[str] = HEAD) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return path


def told(counts: Counts) -> tuple[int, int, int, int]:
    return counts.created, counts.updated, counts.unchanged, counts.rejected


def figures(report: ImportReport) -> dict[str, tuple[int, int, int, int]]:
    return {"rows": told(report.counts), **{name: told(counts) for name, counts in report.types.items()}}


def with_customer(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada"), external=("t", "a"))


def test_a_deal_whose_customer_never_comes_is_not_there(crm: CRM, tmp_path: Path) -> None:
    with_customer(crm)
    path = write(tmp_path / "d.csv", [["1", "سفارش", "a"], ["2", "lost", "nobody"]])
    mapping = parse_mapping(DEALS)
    dry = import_file(crm, path, mapping, dry_run=True)
    assert 0 == crm.deals.count()
    report = import_file(crm, path, mapping)
    assert {"rows": (1, 0, 0, 1), "deal": (1, 0, 0, 1)} == figures(report) == figures(dry)
    assert [(3, "c", "nobody", "reference")] == [(e.row, e.column, e.value, e.rule) for e in report.errors]
    assert ["سفارش"] == [deal.title for deal in crm.deals.iterate()]
    assert ["1"] == [entry.external for entry in crm.external_ids.iterate('record_type = "deal"')]
    for rerun in (import_file(crm, path, mapping, dry_run=True), import_file(crm, path, mapping)):
        assert {"rows": (0, 0, 1, 1), "deal": (0, 0, 1, 1)} == figures(rerun)
    assert 1 == crm.deals.count()
    crm.customers.add(Customer(name="Nobody"), external=("t", "nobody"))
    assert {"rows": (1, 0, 1, 0), "deal": (1, 0, 1, 0)} == figures(import_file(crm, path, mapping))


def test_other_records_of_the_row_go_as_well(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [["a", "Ada", "b"], ["b", "Bob", ""], ["c", "Cid", "nobody"]])
    mapping = parse_mapping(TWO)
    dry = import_file(crm, path, mapping, dry_run=True)
    report = import_file(crm, path, mapping)
    assert {"rows": (2, 0, 0, 1), "customer": (2, 0, 0, 1), "relation": (1, 0, 0, 1)} == figures(report) == figures(dry)
    assert (["Ada", "Bob"], 1) == (sorted(c.name or "" for c in crm.customers.iterate()), crm.relations.count())
    rerun = import_file(crm, path, mapping)
    assert {"rows": (0, 0, 2, 1), "customer": (0, 0, 2, 1), "relation": (0, 0, 1, 1)} == figures(rerun)
    assert 2 == crm.customers.count()


@pytest.mark.parametrize("mapping", [DEALS, TWO])
def test_undo_leaves_nothing(crm: CRM, tmp_path: Path, mapping: str) -> None:
    with_customer(crm)
    before = digest(crm), crm.external_ids.count()
    path = write(tmp_path / "d.csv", [["1", "one", "a"], ["2", "lost", "nobody"]])
    report = import_file(crm, path, parse_mapping(mapping))
    after = digest(crm)
    assert report.operation is not None
    crm.ledger.undo(report.operation)
    assert before == (digest(crm), crm.external_ids.count())
    assert (1, 0, 0, 1) == told(import_file(crm, path, parse_mapping(mapping)).counts)
    assert after == digest(crm)


def test_a_record_that_was_there_gets_its_old_values_again(crm: CRM, tmp_path: Path) -> None:
    with_customer(crm)
    path = write(tmp_path / "d.csv", [["1", "old", "a"]])
    import_file(crm, path, parse_mapping(DEALS))
    before = digest(crm)
    write(path, [["1", "new", "nobody"]])
    for _ in range(2):
        report = import_file(crm, path, parse_mapping(DEALS))
        assert ({"rows": (0, 0, 0, 1), "deal": (0, 0, 0, 1)}, before) == (figures(report), digest(crm))
    write(path, [["1", "new", ""]])
    assert (0, 1, 0, 0) == told(import_file(crm, path, parse_mapping(DEALS)).counts)
    assert ["new"] == [deal.title for deal in crm.deals.iterate()]


def test_what_another_row_names_stays_unless_that_is_rejected_too(crm: CRM, tmp_path: Path) -> None:
    head = ["no", "title", "c", "who"]
    rows = [["1", "x", "nobody", "Ada"], ["2", "y", "", "Ada"], ["3", "z", "nobody", "Bob"], ["4", "w", "none", "Bob"]]
    path = write(tmp_path / "s.csv", rows, head)
    report = import_file(crm, path, parse_mapping(SHARED))
    assert {"Ada"} == {c.name for c in crm.customers.iterate()}
    assert {"y"} == {d.title for d in crm.deals.iterate()}
    assert told(report.types["deal"]) == (1, 0, 0, 3)
    assert (1, 3) == (report.counts.created + report.counts.unchanged, report.counts.rejected)
    assert 1 == report.types["customer"].created
    stays = [error.message for error in report.errors if "stays" in error.message]
    assert 1 == len(stays)
    assert stays[0].endswith("stays: another row names it as well")


def test_what_another_row_added_to_it_keeps_it(crm: CRM, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", [["1", "Ada", "nobody", ""], ["2", "", "", "1"]], ["no", "title", "c", "who"])
    report = import_file(crm, path, parse_mapping(PARTS))
    assert (1, 1) == (crm.customers.count(), crm.contact_points.count())
    assert {"rows": (1, 0, 0, 1), "customer": (1, 0, 0, 0), "contact_point": (1, 0, 0, 0)} == figures(report)
    assert report.errors[0].message.endswith("stays: 1 contact point points at it")


class KeepsDeals:
    @hookimpl
    def before_deals_change(self, event: DealsChanging) -> list[Veto]:
        gone = [i for i, change in enumerate(event.changes) if change.after is None and change.record.title == "kept"]
        return [Veto(i, "", "deals are kept") for i in gone]


def test_a_plugin_may_keep_one_and_the_others_go(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", [["1", "kept", "nobody"], ["2", "lost", "nobody"]])
    with CRM.open("memory:", plugins=[KeepsDeals()]) as crm:
        report = import_file(crm, path, parse_mapping(DEALS))
        assert ["kept"] == [deal.title for deal in crm.deals.iterate()]
        assert {"rows": (0, 0, 0, 2), "deal": (1, 0, 0, 1)} == figures(report)
        assert ["deals are kept" in error.message for error in report.errors] == [True, False]


def test_an_import_that_was_cut_off_takes_back_what_it_made_before(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "t.csv", [["a", "Ada", "nobody"], ["b", "Bob", ""]])

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run.Run, "_finish_waiting", cut)
        with pytest.raises(KeyboardInterrupt):
            import_file(crm, path, parse_mapping(TWO))
    assert 2 == crm.customers.count()
    newest = crm.ledger.operations(limit=1)[0]
    report = resume_import(crm, newest.id)
    assert ["Bob"] == [customer.name for customer in crm.customers.iterate()]
    assert {"rows": (0, 0, 1, 1), "customer": (0, 0, 1, 1), "relation": (0, 0, 0, 1)} == figures(report)


@pytest.mark.parametrize("edited", [False, True])
def test_an_import_that_was_cut_off_restores_what_it_changed_before(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    path = write(tmp_path / "t.csv", [["a", "Ada", ""], ["b", "Bob", ""]])
    import_file(crm, path, parse_mapping(TWO))
    before = digest(crm)
    write(path, [["a", "Ada King", "nobody"], ["b", "Bob", ""]])

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run.Run, "_finish_waiting", cut)
        with pytest.raises(KeyboardInterrupt):
            import_file(crm, path, parse_mapping(TWO))
    ada = next(each for each in crm.customers.iterate() if each.name == "Ada King")
    newest = crm.ledger.operations(limit=1)[0]
    if edited:
        crm.customers.edit(ada.evolve(city="London"))
    report = resume_import(crm, newest.id)
    assert (0, 0, 1, 1) == told(report.counts)
    if edited:
        assert {("Ada King", "London"), ("Bob", None)} == {(c.name, c.city) for c in crm.customers.iterate()}
        assert report.errors[0].message.endswith("stays: it was changed since")
    else:
        assert before == digest(crm)


BOTH = """
[file]
system = "t"
[[record]]
type = "customer"
key = "firm"
repeats = true
when = { column = "firm", given = true }
[record.fields]
name = "firm"
kind = { const = "organisation" }
[[record]]
type = "customer"
key = "no"
when = { column = "title", given = true }
[record.fields]
name = "title"
[[record]]
type = "relation"
key = "no"
when = { column = "c", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
other_id = { column = "c", ref = "customer", later = true }
kind = { const = "subsidiary of" }
"""
BOTH_HEAD = ["no", "title", "c", "firm"]


def cut_off(crm: CRM, monkeypatch: pytest.MonkeyPatch, run_it: Callable[[], object]) -> int:
    """Run an import that is cut off before what waits is finished; return its operation."""

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run.Run, "_finish_waiting", cut)
        with pytest.raises(KeyboardInterrupt):
            run_it()
    return crm.ledger.operations(limit=1)[0].id


@pytest.mark.parametrize("resumed", [False, True])
def test_what_a_row_makes_that_is_taken_stays_when_another_kind_of_record_names_it_in_vain(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    for first, second in (
        (["x", "", "", "b"], ["b", "Bob", "nobody", ""]),
        (["b", "Bob", "nobody", ""], ["x", "", "", "b"]),
    ):
        path = write(tmp_path / f"{first[0]}.csv", [first, second], BOTH_HEAD)
        mapping = parse_mapping(BOTH.replace('"t"', f'"{first[0]}"'))
        if resumed:
            operation = cut_off(crm, monkeypatch, lambda: import_file(crm, path, mapping))  # noqa: B023 - at once
            report = resume_import(crm, operation)
        else:
            report = import_file(crm, path, mapping)
        assert ["b"] == [name.external for name in crm.external_ids.iterate() if name.system == first[0]]
        assert 1 == report.counts.rejected
    assert 2 == crm.customers.count()


def test_what_another_file_of_the_plan_made_stays_when_an_import_goes_on(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "good.csv", [["a", "Ada", ""]])
    write(tmp_path / "bad.csv", [["a", "Ada", "nobody"], ["b", "Bob", "nobody"]])
    (tmp_path / "two.toml").write_text(TWO, encoding="utf-8")
    files = "".join(f'[[file]]\nfile = "{name}.csv"\nmap = "two.toml"\n' for name in ("good", "bad"))
    (tmp_path / "plan.toml").write_text(f'[plan]\ntitle = "Both"\n{files}', encoding="utf-8")
    plan = load_plan(tmp_path / "plan.toml")
    report = resume_import(crm, cut_off(crm, monkeypatch, lambda: import_plan(crm, plan)))
    assert ["Ada"] == [customer.name for customer in crm.customers.iterate()]
    assert 2 == report.counts.rejected


def test_what_was_there_and_what_others_made_meanwhile_stays_when_an_import_goes_on(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = import_file(crm, write(tmp_path / "old.csv", [["o", "Old", ""]]), parse_mapping(TWO))
    rows = [["o", "Old", "nobody"], ["n", "New", "nobody"], ["m", "Mine", "nobody"]]
    path = write(tmp_path / "t.csv", rows)
    with monkeypatch.context() as patched:
        patched.setattr(run.Run, "_rows", _broken_off)
        with pytest.raises(KeyboardInterrupt):
            import_file(crm, path, parse_mapping(TWO))
    operation = crm.ledger.operations(limit=1)[0].id
    import_file(crm, write(tmp_path / "other.csv", [["n", "New", ""]]), parse_mapping(TWO))
    mine = crm.customers.add(Customer(name="Mine"))
    report = resume_import(crm, operation)
    assert (0, 0, 0, 3) == told(report.counts)
    assert {"Old", "New", "Mine"} == {customer.name for customer in crm.customers.iterate()}
    assert crm.customers.get(mine.id) == mine
    assert old.counts.created == 1


def _broken_off(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_person_edited_between_stays_though_the_import_wrote_over_it(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "t.csv", [["a", "Ada", "nobody"]])
    mapping = parse_mapping(TWO.replace('system = "t"', 'system = "t"\nconflict = "overwrite"'))
    operation = cut_off(crm, monkeypatch, lambda: import_file(crm, path, mapping))
    (ada,) = crm.customers.iterate()
    crm.customers.edit(ada.evolve(name="Ada King"))
    crm.external_ids.edit(next(crm.external_ids.iterate()).evolve(row_hash=None))  # so that the row is looked at again
    report = resume_import(crm, operation)
    assert (0, 0, 0, 1) == told(report.counts)
    assert 1 == crm.customers.count()
