"""An export, edited in a spreadsheet and brought back: what was changed is written, and nothing else."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import importlib.util
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer, Deal, Money, User
from crm_core.errors import DuplicateKey, InvalidValue, UsageError
from crm_core.records import KERNEL_RECORDS, ContactPoint, Record, RecordType, Team
from crm_core.values import format_id
from crm_transfer.errors import FileFault, MappingError
from crm_transfer.exporting import export_records, exporter_for
from crm_transfer.importing import import_file, resume_import
from crm_transfer.mapping import parse_mapping
from crm_transfer.names import plain_id
from crm_transfer.report import ImportReport
from crm_transfer.suggest import suggest_mapping
from crm_transfer.update import update_file
from tests.strategies import storable_text, values_of

_spec = importlib.util.spec_from_file_location("transfer_content", Path(__file__).parent / "content.py")
assert _spec is not None
assert _spec.loader is not None
_content = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_content)
digest = _content.digest

OWN = """
[crm]
currency = "EUR"
zone = "Asia/Tehran"
[storage]
url = "{url}"
[fields.customer.sector]
type = "text"
[fields.customer.size]
type = "decimal"
scale = 3
[fields.customer.plant_id]
type = "reference"
references = "team"
[fields.customer.vip]
type = "boolean"
[fields.customer.worth]
type = "money"
[fields.customer.staff]
type = "integer"
"""


@pytest.fixture(params=["memory:", "sqlite:///crm.db"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    if request.param != "memory:":
        request.node.user_properties.append(("database", "sqlite"))
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "crm.toml").write_text(OWN.format(url=request.param), encoding="utf-8")
    with CRM.open(tmp_path / "ws") as opened:
        yield opened


Rows = list[dict[str, str]]


def export(crm: CRM, path: Path, type_name: str = "customers") -> Rows:
    export_records(crm, type_name, exporter=exporter_for(crm, None, path), path=path, force=True)
    if path.suffix != ".csv":
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Rows, **form: Any) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding=form.pop("encoding", "utf-8"), newline="") as file:
        writer = csv.DictWriter(file, names, **form)
        writer.writeheader()
        writer.writerows(rows)
    return path


def update(crm: CRM, path: Path, type_name: str = "customers", **options: Any) -> ImportReport:
    report = update_file(crm, type_name, path, **options)
    counts = report.counts
    assert counts.read == counts.created + counts.updated + counts.unchanged + counts.rejected
    return report


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.counts.created, report.counts.updated, report.counts.unchanged, report.counts.rejected


def changes(report: ImportReport) -> list[tuple[str, str, str]]:
    diff = report.files[0].diff
    assert diff is not None
    return [(one.field, one.old, one.new) for one in diff.changes]


def clashes(report: ImportReport) -> list[tuple[str, str | None, str, str, bool]]:
    diff = report.files[0].diff
    assert diff is not None
    return [(one.field, one.base, one.file, one.now, one.taken) for one in diff.clashes]


def versions(crm: CRM) -> dict[int, int]:
    kinds = [name for name, kind in crm.registry.types.items() if not kind.declaration.internal]
    return {record.id: record.version for name in kinds for record in crm.records(name).iterate()}


names = st.text(min_size=1, max_size=8).filter(lambda text: text.strip() != "" and text.isprintable())
TYPES = [cls for cls in KERNEL_RECORDS if cls.__crm_record__.name != "external_id"]  # type: ignore[attr-defined]


def drawn_record(data: st.DataObject, kind: RecordType, there: dict[str, int]) -> Record:
    """Draw a record whose references point at records that are there."""
    own = [field for field in kind.fields.values() if not field.extension]
    pointing = {field.name: there.get(field.declaration.references) for field in own if field.declaration.references}
    plain = [
        field for field in own if field.name not in (*pointing, *(("pipeline", "stage") if kind.name == "deal" else ()))
    ]
    values = {field.name: data.draw(values_of(field.declaration)) for field in plain}
    return kind.cls(**values, **pointing)


def fill_own_fields(data: st.DataObject, crm: CRM) -> None:
    for customer in crm.customers.iterate():
        size = data.draw(st.decimals(places=3, min_value=-(10**9), max_value=10**9))
        crm.customers.edit(
            customer.with_fields(
                sector=data.draw(storable_text(40)) or None,
                size=size,
                vip=data.draw(st.booleans()),
                staff=data.draw(st.integers(-(2**63), 2**63 - 1)),
                worth=Money(data.draw(st.integers(-(10**9), 10**9)), "JPY"),
            )
        )


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_an_untouched_export_changes_nothing_whatever_it_holds(
    cls: type[Record], suffix: str, tmp_path: Path, data: st.DataObject
) -> None:
    (tmp_path / "ws").mkdir(exist_ok=True)
    (tmp_path / "ws" / "crm.toml").write_text(OWN.format(url="memory:"), encoding="utf-8")
    with CRM.open(tmp_path / "ws") as crm:
        kind = crm.registry.by_class(cls)
        ada = crm.customers.add(Customer(name=data.draw(storable_text(30)), tags=("a", "b, c")))
        there = {
            "team": crm.records("team").add(Team(name="كاظمي")).id,
            "user": crm.users.add(User(name=data.draw(names))).id,
            "customer": ada.id,
            "deal": crm.deals.add(Deal(title=data.draw(names))).id,
            "contact_point": crm.contact_points.add(ContactPoint(customer_id=ada.id, kind="email", value="a@b.c")).id,
        }
        service = crm.records(kind.name)
        for _ in range(data.draw(st.integers(0, 2))):
            with contextlib.suppress(InvalidValue, UsageError, DuplicateKey):  # what is not stored is not exported
                service.add(drawn_record(data, kind, there))
        fill_own_fields(data, crm)
        before, once = digest(crm), versions(crm)
        path = tmp_path / f"out{suffix}"
        export(crm, path, kind.plural)
        if not path.stat().st_size:
            return
        dry = update(crm, path, kind.plural, dry_run=True)
        report = update(crm, path, kind.plural)
        assert (0, 0, service.count(), 0) == counts(report) == counts(dry), [str(e) for e in report.errors]
        assert (before, once) == (digest(crm), versions(crm))
        assert "import" not in {entry.kind for entry in crm.ledger.operations()}
        if service.count():
            again = import_file(crm, path, parse_mapping(suggest_mapping(crm, kind.plural, path)))
            assert (0, 0, service.count(), 0) == counts(again)


def people(crm: CRM) -> dict[str, Customer]:
    return {str(one.name): one for one in crm.customers.iterate()}


def test_changed_cells_alone_are_written_and_shown_first(crm: CRM, tmp_path: Path) -> None:
    sara, omid = crm.users.add(User(name="سارا")), crm.users.add(User(name="Omid"))
    crm.customers.add(Customer(name="Ada", city="Rome", owner_id=sara.id, tags=("a", "b, c")))
    crm.customers.add(Customer(name="Bob", city="Oslo").with_fields(sector="x", size=2, staff=2**62))
    rows = export(crm, tmp_path / "c.csv")
    assert {"id", "version", "external_id", "owner_id", "owner", "fields.sector"} <= rows[0].keys()
    ada, bob = rows
    assert ("سارا", 'a, "b, c"') == (ada["owner"], ada["tags"])
    ada |= {"city": "Bern", "owner": "Omid", "tags": 'b, "b, c"'}
    bob |= {"fields.size": "2.5", "kind": "Organisation"}
    path = write(tmp_path / "c.csv", rows)
    before = versions(crm)
    dry = update(crm, path, dry_run=True)
    assert before == versions(crm)
    report = update(crm, path)
    named = f"سارا ({format_id(sara.id)})", f"Omid ({format_id(omid.id)})"
    expected = [
        ("owner_id", *named), ("tags", "a, b, c", "b, b, c"), ("city", "Rome", "Bern"),
        ("kind", "person", "organisation"), ("fields.size", "2", "2.5"),
    ]  # fmt: skip
    assert expected == changes(dry) == changes(report)
    assert (0, 2, 0, 0) == counts(report) == counts(dry)
    found = people(crm)
    assert ("Bern", omid.id, {"b", "b, c"}) == (found["Ada"].city, found["Ada"].owner_id, set(found["Ada"].tags))
    assert ("organisation", 2**62) == (found["Bob"].kind, found["Bob"].fields["staff"])
    assert report.operation is not None
    assert (0, 0, 2, 0) == counts(update(crm, path))
    crm.ledger.undo(report.operation)
    assert ("Rome", {"a", "b, c"}) == (people(crm)["Ada"].city, set(people(crm)["Ada"].tags))


def test_columns_and_rows_left_out_are_left_alone(crm: CRM, tmp_path: Path) -> None:
    crm.customers.add(Customer(name="Ada", city="Rome", country="IT"))
    crm.customers.add(Customer(name="Bob", city="Oslo"))
    ada, _ = export(crm, tmp_path / "c.csv")
    kept = {"city": "Bern", "id": ada["id"], "shoe size": "38", "version": ada["version"]}
    report = update(crm, write(tmp_path / "c.csv", [kept]))
    assert ([("city", "Rome", "Bern")], 2, "IT") == (changes(report), crm.customers.count(), people(crm)["Ada"].country)
    assert any("shoe size" in note for note in report.files[0].notes)


def test_new_rows_make_records_once_and_undo_takes_them_back(crm: CRM, tmp_path: Path) -> None:
    crm.users.add(User(name="Omid"))
    crm.customers.add(Customer(name="Ada"))
    rows = export(crm, tmp_path / "c.csv")
    blank = dict.fromkeys(rows[0], "")
    rows += [
        {**blank, "name": "سارا", "kind": "person", "owner": "Omid"},
        {**blank, "name": "Twin"},
        {**blank, "name": "Twin"},
        {**blank, "name": "Shop", "external_id": "shop:7"},
        blank,
    ]
    path = write(tmp_path / "c.csv", rows)
    report = update(crm, path)
    assert ((4, 0, 1, 0), [3, 4, 5, 6]) == (counts(report), report.to_json()["files"][0]["new_rows"])
    assert people(crm)["سارا"].owner_id is not None
    assert crm.resolve("customer", "shop:7") == people(crm)["Shop"].id
    again = update(crm, path)
    assert ((0, 0, 4, 1), 5) == (counts(again), crm.customers.count())
    assert "give its id" in again.errors[0].message
    assert report.operation is not None
    crm.ledger.undo(report.operation)
    assert 1 == crm.customers.count()


def test_a_stale_row_is_merged_field_by_field_and_clashes_are_named(crm: CRM, tmp_path: Path) -> None:
    crm.users.add(User(name="Sara"))
    crm.customers.add(Customer(name="Ada", city="Rome", country="IT", region="Lazio", tags=("a",)))
    (ada,) = export(crm, tmp_path / "c.csv")
    crm._user, crm._known_user = "Sara", None
    now = people(crm)["Ada"]
    crm.customers.edit(now.evolve(city="Oslo", tags=("a", "b"), industry="arts"))
    path = write(tmp_path / "c.csv", [{**ada, "city": "Bern", "country": "CH", "tags": "z"}])
    report = update(crm, path)
    assert [("tags", "a", "z", "a, b", False), ("city", "Rome", "Bern", "Oslo", False)] == clashes(report)
    assert [("country", "IT", "CH")] == changes(report)
    found = people(crm)["Ada"]
    assert ("Oslo", "CH", {"a", "b"}, "arts") == (found.city, found.country, set(found.tags), found.industry)
    assert (1, "Sara") == (
        report.to_json()["files"][0]["stale_rows"],
        report.to_json()["files"][0]["conflicts"][0]["by"],
    )
    taken = update(crm, path, policies={"city": "overwrite"})
    assert [("tags", False), ("city", True)] == [(c[0], c[4]) for c in clashes(taken)]
    assert ("Bern", {"a", "b"}) == (people(crm)["Ada"].city, set(people(crm)["Ada"].tags))
    with pytest.raises(MappingError, match="newest"):
        update(crm, path, policies={"": "newest"})
    with pytest.raises(MappingError, match="no such field"):
        update(crm, path, policies={"shoe": "keep"})


def test_a_row_of_who_was_merged_since_goes_to_the_survivor_and_overwrites_nothing(crm: CRM, tmp_path: Path) -> None:
    ada = crm.customers.add(Customer(name="Ada", city="London"), email="a@x.org")
    king = crm.customers.add(Customer(name="Ada King", city="Paris", country="FR"), phone="+44 20 9999")
    rows = export(crm, tmp_path / "c.csv")
    crm.customers.merge(ada, king)
    before = digest(crm)
    report = update(crm, tmp_path / "c.csv")
    assert ((0, 0, 2, 0), before) == (counts(report), digest(crm)), report.errors
    assert any("merged since the export: 1" in note for note in report.files[0].notes)
    mine = next(row for row in rows if row["name"] == "Ada King")
    mine |= {"city": "Rome", "industry": "Mathematics"}
    path = write(tmp_path / "c.csv", rows)
    report = update(crm, path)
    assert ((0, 0, 2, 0), before) == (counts(report), digest(crm)), report.errors
    assert ("city", None, "Rome", "London", False) in clashes(report)
    report = update(crm, path, policies={"": "fill"})
    assert (0, 1, 1, 0) == counts(report), report.errors
    now = crm.customers.get(ada.id)
    assert ("Ada", "London", "FR", "Mathematics") == (now.name, now.city, now.country, now.industry)
    assert 1 == crm.customers.count()
    crm.ledger.undo(report.operation or 0)
    assert before == digest(crm)


def test_rows_of_two_who_are_one_by_now_are_never_lost(crm: CRM, tmp_path: Path) -> None:
    ada, king = crm.customers.add(Customer(name="Ada")), crm.customers.add(Customer(name="Ada King"))
    rows = export(crm, tmp_path / "c.csv")
    crm.customers.merge(ada, king)
    for row, (field, value) in zip(rows, (("city", "London"), ("country", "GB")), strict=True):
        row[field] = value
    report = update(crm, write(tmp_path / "c.csv", rows), policies={"": "fill"})
    assert ((0, 1, 0, 1), ["ConflictError"]) == (counts(report), [error.rule for error in report.errors])
    again = update(crm, Path(report.files[0].rejects_file), policies={"": "fill"})
    now = crm.customers.get(ada.id)
    assert ((0, 1, 0, 0), "London", "GB") == (counts(again), now.city, now.country)


def test_what_the_ledger_does_not_know_any_more_is_a_clash(
    crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.customers.add(Customer(name="Ada", city="Rome", country="IT"))
    (ada,) = export(crm, tmp_path / "c.csv")
    crm.customers.edit(people(crm)["Ada"].evolve(country="CH"))
    monkeypatch.setattr(crm.ledger._provenance, "as_read", lambda *_: {})
    report = update(crm, write(tmp_path / "c.csv", [{**ada, "city": "Bern"}]))
    assert [("country", None, "IT", "CH", False), ("city", None, "Bern", "Rome", False)] == clashes(report)


def test_an_edit_that_was_brought_back_is_a_persons_edit_for_the_next_import(crm: CRM, tmp_path: Path) -> None:
    mapping = parse_mapping(
        '[file]\nsystem = "s"\n[[record]]\ntype = "customer"\nkey = "n"\n[record.fields]\ncity = "c"\n'
    )
    import_file(crm, write(tmp_path / "s.csv", [{"n": "1", "c": "Rome"}]), mapping)
    rows = export(crm, tmp_path / "c.csv")
    assert "s:1" == rows[0]["external_id"]
    update(crm, write(tmp_path / "c.csv", [{**rows[0], "city": "Bern"}]))
    import_file(crm, write(tmp_path / "s.csv", [{"n": "1", "c": "Wien"}]), mapping)
    assert ["Bern"] == [one.city for one in crm.customers.iterate()]


def test_rows_that_cannot_be_taken_are_named_and_their_file_can_be_brought_back(crm: CRM, tmp_path: Path) -> None:
    crm.users.add(User(name="Omid"))
    for name in "ABCDEFGH":
        crm.customers.add(Customer(name=name))
    gone = crm.customers.add(Customer(name="gone"))
    rows = export(crm, tmp_path / "c.csv")
    crm.customers.delete(gone.id)
    a, b, c, d, e, f, g, h, _ = rows
    a["version"] = ""
    b["id"] = "no id"
    c["birth_date"] = "31/02/2020"
    d["owner"] = "Omit"
    e |= {"id": f["id"]}
    f["kind"] = "robot"
    g["id"] = format_id(next(crm.users.iterate()).id)
    h["name"] = "x" * 401
    path = write(tmp_path / "c.csv", [a, b, c, d, f, e, g, h, rows[8]])
    report = update(crm, path)
    assert (0, 0, 0, 9) == counts(report)
    told = {(error.row, error.column, error.rule) for error in report.errors}
    assert {
        (2, "version", "version"), (3, "id", "id"), (4, "birth_date", "date"), (5, "owner", "reference"),
        (6, "kind", "choices"), (7, "id", "duplicate"), (8, "id", "gone"), (9, "name", "max_length"),
        (10, "id", "gone"),
    } == told  # fmt: skip
    assert "did you mean 'Omid'" in next(error.message for error in report.errors if error.row == 5)
    rejects = Path(str(report.files[0].rejects_file))
    with rejects.open(encoding="utf-8", newline="") as file:
        again = list(csv.DictReader(file))
    again[3]["owner"], again[2]["birth_date"] = "Omid", "2020-02-28"
    assert (0, 2, 0, 7) == counts(update(crm, write(rejects, again)))


def test_a_status_cannot_be_set_and_a_moved_deal_says_what_an_import_does_not_do(crm: CRM, tmp_path: Path) -> None:
    crm.deals.add(Deal(title="One", amount=Money("1200.50", "EUR")))
    crm.deals.add(Deal(title="Two", amount=Money("7", "EUR")))
    one, two = export(crm, tmp_path / "d.csv", "deals")
    path = write(tmp_path / "d.csv", [{**one, "status": "won"}, {**two, "stage": "won", "amount": "8"}])
    report = update(crm, path, "deals")
    assert [("status", "derived")] == [(error.column, error.rule) for error in report.errors]
    assert [("stage", "new", "won"), ("amount", "7.00 EUR", "8.00 EUR")] == changes(report)
    assert any("crm deals move" in note for note in report.files[0].notes)
    assert 0 == crm.sales.count()


def respelt(rows: Rows, **spell: Callable[[str], str]) -> Rows:
    return [{name: spell[name](cell) if name in spell and cell else cell for name, cell in row.items()} for row in rows]


def days(form: str) -> Callable[[str], str]:
    return lambda cell: dt.datetime.fromisoformat(cell).strftime(form)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%b-%y", "%d.%m.%y"])
def test_dates_and_numbers_as_a_spreadsheet_respells_them_are_no_changes(crm: CRM, tmp_path: Path, form: str) -> None:
    for day in (3, 4, 13):
        customer = Customer(name=f"N{day}", birth_date=dt.date(1990, 5, day), first_contact_at=dt.date(2024, 2, day))
        crm.customers.add(customer.with_fields(size=1234, worth=Money("1234567.50", "EUR"), vip=True, sector="00123"))
    rows = export(crm, tmp_path / "c.csv")
    german = lambda cell: f"{float(cell):,.2f}".translate(str.maketrans(",.", ".,"))  # noqa: E731
    spelt = respelt(
        rows,
        birth_date=days(form),
        first_contact_at=days(form),
        **{"fields.worth": german, "fields.vip": lambda _: "WAHR", "fields.sector": lambda cell: cell.lstrip("0")},
    )
    path = write(tmp_path / "c.csv", spelt, delimiter=";")
    report = update(crm, path)
    assert (0, 0, 3, 0) == counts(report), report.errors
    spelt[0]["birth_date"] = days(form)("1991-06-05")
    spelt[1]["fields.worth"] = "1.234,25"
    report = update(crm, write(path, spelt, delimiter=";"))
    expected = [("birth_date", "1990-05-03", "1991-06-05"), ("fields.worth", "1234567.50 EUR", "1234.25 EUR")]
    assert expected == changes(report), report.errors
    assert any("3 cells hold what the spreadsheet cut" in note for note in report.files[0].notes)


def test_a_date_that_may_be_two_days_is_refused(crm: CRM, tmp_path: Path) -> None:
    crm.customers.add(Customer(name="Ada"))
    (ada,) = export(crm, tmp_path / "c.csv")
    report = update(crm, write(tmp_path / "c.csv", [{**ada, "birth_date": "03/04/2020"}]))
    assert "may be 2020-03-04 or 2020-04-03" in report.errors[0].message
    report = update(crm, write(tmp_path / "c.csv", [{**ada, "fields.size": "1,234"}]))
    assert "may be 1.234 or 1234" in report.errors[0].message


def test_long_numbers_phones_and_ids_survive_a_spreadsheet(crm: CRM, tmp_path: Path) -> None:
    ada = crm.customers.add(Customer(name="+98 912 345 67 89").with_fields(staff=1234567890123456789), phone="+98 912")
    rows = export(crm, tmp_path / "c.csv")
    assert "'+98 912 345 67 89" == rows[0]["name"]
    rows[0] |= {"name": "+98 912 345 67 89", "fields.staff": "1.23457E+18"}
    assert (0, 0, 1, 0) == counts(update(crm, write(tmp_path / "c.csv", rows)))
    points = export(crm, tmp_path / "p.csv", "contact_points")
    assert "'+98 912" == points[0]["value"]
    assert (0, 0, 1, 0) == counts(update(crm, tmp_path / "p.csv", "contact_points"))
    assert 1234567890123456789 == crm.customers.get(ada.id).fields["staff"]
    for text in ("0123456789012", "06E1234567890"):
        assert "-" in plain_id(int(__import__("crm_core.values").values.parse_id(text)))


def test_a_user_who_was_renamed_since_the_export_is_no_change(crm: CRM, tmp_path: Path) -> None:
    sara = crm.users.add(User(name="Sara"))
    crm.customers.add(Customer(name="Ada", owner_id=sara.id))
    export(crm, tmp_path / "c.csv")
    crm.users.edit(sara.evolve(name="Sara K."))
    assert (0, 0, 1, 0) == counts(update(crm, tmp_path / "c.csv"))


def test_a_file_without_versions_is_refused_whole(crm: CRM, tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="no column 'version'"):
        update(crm, write(tmp_path / "c.csv", [{"id": "x", "name": "y"}]))


def test_json_lines_can_be_edited_too(crm: CRM, tmp_path: Path) -> None:
    crm.customers.add(Customer(name="Ada", tags=("a", "b,c")).with_fields(worth=Money("5", "EUR"), size=1))
    path = tmp_path / "c.jsonl"
    export(crm, path)
    record = json.loads(path.read_text(encoding="utf-8"))
    record["fields"]["worth"]["amount"] = "7.50"
    record["tags"].append("d")
    del record["name"], record["fields"]["size"]
    lines = [record, {"id": "", "name": "new", "fields": {"size": "1"}}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    report = update(crm, path)
    assert {"tags", "fields.worth"} == {one[0] for one in changes(report)}
    assert {"a", "b,c", "d"} == set(people(crm)["Ada"].tags)


def test_a_wrong_cell_is_told_as_it_stands_and_the_way_out_in_the_form_of_the_file(crm: CRM, tmp_path: Path) -> None:
    for number in range(1, 5):
        closed = dt.date(2026, 2, 20 + number)
        crm.deals.add(Deal(title=f"D{number}", amount=Money(f"{number}234.56", "EUR"), expected_close_on=closed))
    rows = export(crm, tmp_path / "d.csv", "deals")
    for row in rows:
        row["amount"] = row["amount"].replace(".", ",")
        row["expected_close_on"] = dt.date.fromisoformat(row["expected_close_on"]).strftime("%d.%m.%Y")
    rows[0]["amount"] = "abc"
    rows[1]["expected_close_on"] = "soon"
    report = update(crm, write(tmp_path / "d.csv", rows), "deals")
    assert {
        ("amount", "abc", "is not a number as this file writes them; write it as 1234,50"),
        ("expected_close_on", "soon", "is no date of the form that this file writes; write it as 30.11.2026"),
    } == {(error.column, error.value, error.message) for error in report.errors}
    rows[0]["amount"], rows[1]["expected_close_on"] = "1234,50", "30.11.2026"
    report = update(crm, write(tmp_path / "d.csv", rows), "deals")
    assert (0, 2, 2, 0) == counts(report), report.errors


def test_an_update_that_was_cut_off_can_be_finished(crm: CRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_transfer import update as module

    monkeypatch.setattr(module, "_CHUNK", 2)
    for name in "ABCDE":
        crm.customers.add(Customer(name=name))
    path = write(tmp_path / "c.csv", [{**row, "city": "Rome"} for row in export(crm, tmp_path / "c.csv")])

    def stop(done: int, total: int, name: str) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(crm, path, progress=stop)
    cut_off = crm.ledger.operations(limit=1)[0]
    assert "incomplete" == cut_off.state
    report = resume_import(crm, cut_off.id)
    assert ((0, 3, 2, 0), cut_off.id) == (counts(report), report.operation)
    crm.ledger.undo(cut_off.id)
    assert {None} == {one.city for one in crm.customers.iterate()}


def test_a_workbook_comes_back_as_a_text_file_does(crm: CRM, tmp_path: Path) -> None:
    sara = crm.users.add(User(name="سارا"))
    ada = Customer(name="+98 912", owner_id=sara.id, tags=("a", "b, c"), birth_date=dt.date(1990, 5, 3))
    ada = ada.with_fields(size=Decimal("2.125"), staff=2**62, vip=True, worth=Money("1200.50", "EUR"), sector="007")
    crm.customers.add(ada.evolve(first_contact_at=dt.datetime(2026, 2, 3, 14, 5, 7, 123456, tzinfo=dt.UTC)))
    crm.deals.add(Deal(title="One", amount=Money("0.07", "KWD"), closed_at=dt.date(2026, 2, 3)))
    for plural in ("customers", "deals"):
        path = tmp_path / f"{plural}.xlsx"
        export(crm, path, plural)
        report = update(crm, path, plural)
        assert (0, 0, 1, 0) == counts(report), [*changes(report), *map(str, report.errors)]
