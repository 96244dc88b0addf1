"""Who wins where a file and the CRM say different things of one field."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer, User
from crm_core.values import FixedClock
from crm_transfer.errors import MappingError
from crm_transfer.importing import import_file
from crm_transfer.mapping import parse_mapping, with_policies
from crm_transfer.policies import CONFLICTS
from crm_transfer.report import ImportReport

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HEAD = ["no", "name", "city", "country", "tags", "changed"]
MAPPING = """
[file]
system = "shop"
{file}
[[record]]
type = "customer"
key = "no"
changed_at = "changed"
[record.fields]
name = "name"
city = {{ column = "city", conflict = "{policy}" }}
country = "country"
tags = "tags"
"""


@pytest.fixture(params=["memory:", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    if request.param == "sqlite":
        request.node.user_properties.append(("database", "sqlite"))
    url = "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url, clock=FixedClock(NOON)) as opened:
        yield opened


def bring(crm: CRM, folder: Path, *rows: list[str], policy: str = "keep_edited", **options: Any) -> ImportReport:
    path = folder / "shop.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    text = MAPPING.format(policy=policy, file=options.pop("file", ""))
    report = import_file(crm, path, parse_mapping(text), **options)
    assert report.counts.read == len(rows)
    return report


def only(crm: CRM) -> Customer:
    (found,) = crm.customers.find().records
    return found


def kept(report: ImportReport) -> list[tuple[int, str, str, str]]:
    return [(one.row, one.field, one.value, one.kept) for file in report.files for one in file.kept]


def test_a_persons_edit_since_the_last_import_is_kept_and_named(crm: CRM, tmp_path: Path) -> None:
    crm.users.add(User(name="Sara"))
    bring(crm, tmp_path, ["1", "Ada", "Rome", "IT", "a", ""])
    crm._user, crm._known_user = "Sara", None
    crm.customers.edit(only(crm).evolve(city="Oslo", tags=("a", "vip")))
    dry = bring(crm, tmp_path, ["1", "Ada L", "Bern", "CH", "b", ""], dry_run=True)
    report = bring(crm, tmp_path, ["1", "Ada L", "Bern", "CH", "b", ""])
    expected = [(2, "city", "Bern", "Oslo"), (2, "tags", "b", "a, vip")]
    assert [expected, expected] == [sorted(kept(dry)), sorted(kept(report))]
    told = report.to_json()["kept"][0]
    assert ("Sara", NOON.isoformat(), "shop.csv") == (told["by"], told["at"], told["file"])
    assert [{"type": "customer", "field": "city", "count": 1}, {"type": "customer", "field": "tags", "count": 1}] == (
        report.to_json()["kept_fields"]
    )
    now = only(crm)
    assert ("Ada L", "Oslo", "CH", {"a", "vip"}) == (now.name, now.city, now.country, set(now.tags))
    assert (0, 1, 0, 0) == counts(report)


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.counts.created, report.counts.updated, report.counts.unchanged, report.counts.rejected


def test_an_edit_that_was_kept_once_stays_kept_by_the_next_imports(crm: CRM, tmp_path: Path) -> None:
    bring(crm, tmp_path, ["1", "Ada", "Rome", "IT", "", ""])
    crm.customers.edit(only(crm).evolve(city="Oslo"))
    for city in ("Bern", "Wien", "Wien"):
        bring(crm, tmp_path, ["1", "Ada", city, "IT", "", ""])
    assert "Oslo" == only(crm).city


@pytest.mark.parametrize(
    ("policy", "edited", "changed", "expected"),
    [
        ("overwrite", "Oslo", "", "Bern"),
        ("keep", None, "", "Rome"),
        ("keep", "Oslo", "", "Oslo"),
        ("fill", None, "", "Rome"),
        ("fill", "", "", "Bern"),
        ("newest", "Oslo", "2026-03-02", "Bern"),
        ("newest", "Oslo", "2026-02-01", "Oslo"),
        ("newest", "Oslo", "", "Oslo"),
        ("newest", None, "2020-01-01", "Bern"),
    ],
)
def test_the_other_policies(
    crm: CRM, tmp_path: Path, policy: str, edited: str | None, changed: str, expected: str
) -> None:
    bring(crm, tmp_path, ["1", "Ada", "Rome", "IT", "", ""], policy=policy)
    if edited is not None:
        crm.customers.edit(only(crm).evolve(city=edited or None))
    report = bring(crm, tmp_path, ["1", "Ada", "Bern", "IT", "", changed], policy=policy)
    assert expected == only(crm).city
    assert (expected != "Bern") == bool(kept(report))


def test_an_edit_taken_back_is_no_edit_and_an_import_taken_back_leaves_the_edit(crm: CRM, tmp_path: Path) -> None:
    bring(crm, tmp_path, ["1", "Ada", "Rome", "IT", "", ""])
    with crm.operation("by hand") as by_hand:
        crm.customers.edit(only(crm).evolve(city="Oslo"))
    report = bring(crm, tmp_path, ["1", "Ada", "Bern", "IT", "", ""], policy="overwrite")
    assert report.operation is not None
    crm.ledger.undo(report.operation)
    assert "Oslo" == only(crm).city
    bring(crm, tmp_path, ["1", "Ada", "Wien", "IT", "", ""])
    assert "Oslo" == only(crm).city
    crm.ledger.undo(by_hand.id)
    bring(crm, tmp_path, ["1", "Ada", "Graz", "IT", "", ""])
    assert "Graz" == only(crm).city


def test_a_policy_given_beside_the_mapping_looks_at_unchanged_rows_again(crm: CRM, tmp_path: Path) -> None:
    row = ["1", "Ada", "Rome", "IT", "", ""]
    bring(crm, tmp_path, row)
    crm.customers.edit(only(crm).evolve(city="Oslo"))
    assert (0, 0, 1, 0) == counts(bring(crm, tmp_path, row))
    assert "Oslo" == only(crm).city
    assert (0, 1, 0, 0) == counts(bring(crm, tmp_path, row, policies={"city": "overwrite"}))
    assert "Rome" == only(crm).city


def test_a_policy_is_checked_when_the_mapping_is_read() -> None:
    with pytest.raises(MappingError, match="must be keep_edited or keep or overwrite or newest or fill"):
        parse_mapping(MAPPING.format(policy="mine", file=""))
    with pytest.raises(MappingError, match="no column says when"):
        parse_mapping(MAPPING.format(policy="newest", file="").replace('changed_at = "changed"', ""))
    mapping = parse_mapping(MAPPING.format(policy="keep", file='conflict = "fill"'))
    assert ["fill", "keep", "fill", "fill"] == [field.conflict for field in mapping.records[0].fields]
    with pytest.raises(MappingError, match="--conflict shoe"):
        with_policies(mapping, {"shoe": "keep"})


def test_a_mapping_without_a_key_is_refused_with_the_way_out() -> None:
    with pytest.raises(MappingError) as refused:
        parse_mapping('[[record]]\ntype = "customer"\n[record.fields]\nname = "name"\n')
    assert "key is missing" in refused.value.message
    assert "--suggest" in refused.value.hint


words = st.sampled_from(["", "Rome", "Oslo", "تهران", "Երևան"])
FIELDS = ("name", "city", "country")
rows = st.fixed_dictionaries(dict.fromkeys(FIELDS, words))
human = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, words))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(rows, min_size=1, max_size=4),
    data=st.data(),
    policy=st.sampled_from([p for p in CONFLICTS if p != "newest"]),
)
def test_exactly_the_fields_that_the_policy_says_change(
    first: list[dict[str, str]], data: st.DataObject, policy: str, tmp_path: Path
) -> None:
    def bring_all(crm: CRM, contents: list[dict[str, str]]) -> ImportReport:
        listed = [[str(no), *(row[f] for f in FIELDS), "", ""] for no, row in enumerate(contents)]
        return bring(crm, tmp_path, *listed, file=f'conflict = "{policy}"', policy=policy)

    with CRM.open("memory:") as crm:
        bring_all(crm, first)
        edits = [data.draw(human) for _ in first]
        second = [data.draw(rows) for _ in first]
        ids = {e.external: e.record_id for e in crm.external_ids.iterate()}
        for no, edit in enumerate(edits):
            crm.customers.edit(crm.customers.get(ids[str(no)]).evolve(**{f: v or None for f, v in edit.items()}))
        report = bring_all(crm, second)
        named: set[tuple[int, str]] = set()
        for no, (old, edit, new) in enumerate(zip(first, edits, second, strict=True)):
            record = crm.customers.get(ids[str(no)])
            for field in FIELDS:
                was = edit.get(field, old[field]) or None
                touched = field in edit and (edit[field] or None) != (old[field] or None)
                file = new[field] or None
                looked_at = new != old
                wins = {"overwrite": True, "keep": False, "fill": was is None, "keep_edited": not touched}[policy]
                expected = file if looked_at and wins else was
                assert expected == getattr(record, field), (field, old, edit, new)
                if looked_at and not wins and file != was:
                    named.add((no + 2, field))
        assert named == {(row, field) for row, field, _, _ in kept(report)}
        assert len(named) == sum(report.kept_fields.values())
