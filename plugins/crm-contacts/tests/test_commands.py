"""`crm customers duplicates`: shown, judged, merged by rule and undone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crm_contacts.matching import find_groups
from crm_contacts.merging import merge, plans
from crm_contacts.rules import rules_of
from crm_core import CRM, ContactPoint, Customer, Deal, Money, hookimpl
from crm_core.cli.main import main
from crm_core.errors import UsageError
from crm_core.events import CustomersChanging, Veto
from crm_core.settings import write_settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_settings(tmp_path / "ws", storage_url="sqlite:///crm.db", currency="EUR")
    return tmp_path / "ws"


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["-w", str(place), "customers", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def twins(place: Path) -> tuple[Customer, Customer, Customer]:
    with CRM.open(place) as crm:
        late = crm.customers.add(Customer(name="آدا لاولیس"), email="ada@example.org")
        full = Customer(name="آدا لاوليس", city="لندن", country="GB", first_contact_at=date(2024, 1, 2), tags=("vip",))
        early = crm.customers.add(full, email="ADA@example.org", phone="+44 20 7946 0018")
        other = crm.customers.add(Customer(name="Eve"))
        crm.deals.add(Deal(title="D", customer_id=late.id, amount=Money("5", "EUR")))
    return late, early, other


def test_an_empty_answer_says_what_would_not_be_empty(run: Run, place: Path) -> None:
    assert (0, "There are no duplicates among 0 customers.\n") == run("duplicates")[:2]
    with CRM.open(place) as crm:
        for name in ("Ada", "Grigor"):
            crm.customers.add(Customer(name=name), phone="+49 170 1234567")
    code, out, _ = run("duplicates")
    assert (0, True) == (code, "Below that: 1 pair from 40 to 49 (--min-score 40)." in out)
    assert "48" in run("duplicates", "--min-score", "40")[1]
    assert (0, "[]\n") == run("duplicates", "--json")[:2]


def test_groups_are_shown_with_score_and_reasons(run: Run, twins: tuple[Customer, ...]) -> None:
    code, out, _ = run("duplicates")
    assert (0, True, True) == (code, "same e-mail ada@example.org" in out, "آدا لاولیس" in out)
    (group,) = json.loads(run("duplicates", "--json")[1])
    assert [94, 2] == [group["score"], len(group["members"])]
    assert [("email", 90), ("same_name", 40)] == [(one["rule"], one["weight"]) for one in group["pairs"][0]["reasons"]]


def test_a_pair_judged_two_is_not_shown_again_and_undo_brings_it_back(
    run: Run, twins: tuple[Customer, ...], place: Path
) -> None:
    assert 2 == run("duplicates", "--not-same", "Eve", "Eve")[0]
    a, b = (one["id"] for one in json.loads(run("duplicates", "--json")[1])[0]["members"])
    assert "is remembered" in run("duplicates", "--not-same", a, b)[1]
    assert "was known already" in run("duplicates", "--not-same", b, a)[1]
    assert "Left out: 1 pair judged not the same" in run("duplicates")[1]
    with CRM.open(place) as crm:
        crm.ledger.undo(crm.ledger.resolve("last"))
    assert 1 == len(json.loads(run("duplicates", "--json")[1]))


@pytest.mark.parametrize(("rule", "stays"), [("oldest", 1), ("fullest", 1)])
def test_a_rule_merges_every_group_as_one_operation(
    run: Run, twins: tuple[Customer, ...], place: Path, rule: str, stays: int
) -> None:
    dry = json.loads(run("duplicates", "--merge", rule, "--dry-run", "--json")[1])
    code, out, _ = run("duplicates", "--merge", rule, "--yes", "--json")
    done = json.loads(out)
    assert (0, 1, True, None) == (code, done["merged"], dry["dry_run"], dry["operation"])
    assert dry["groups"] == done["groups"]
    with CRM.open(place) as crm:
        assert 2 == crm.customers.count()
        kept = crm.customers.get(twins[stays].id)
        assert [kept.id] == [deal.customer_id for deal in crm.deals.find()]
        assert 2 == len(crm.customers.contact_points(kept.id))
        crm.ledger.undo(crm.ledger.resolve(done["operation"]))
        assert 3 == crm.customers.count()


def test_the_preview_names_who_becomes_part_of_whom_and_writes_nothing(run: Run, twins: tuple[Customer, ...]) -> None:
    code, out, _ = run("duplicates", "--merge", "oldest", "--dry-run")
    assert (0, True) == (code, "would merge 1 customer into 1 others" in out)
    assert 1 == len(json.loads(run("duplicates", "--json")[1]))


def test_a_dry_run_without_a_merge_is_a_mistake(run: Run) -> None:
    assert 2 == run("duplicates", "--dry-run")[0]
    assert 2 == run("duplicates", "--merge", "newest")[0]


def test_help_shows_the_command_of_the_plugin(run: Run) -> None:
    assert "duplicates" in run("--help")[1]
    assert "--not-same" in run("duplicates", "--help")[1]


class Guard:
    """Refuses that a customer of some name goes."""

    @hookimpl
    def before_customers_change(self, event: CustomersChanging) -> Iterable[Veto]:
        return [
            Veto(at, "", "is kept")
            for at, change in enumerate(event.changes)
            if change.after is None and change.before is not None and change.before.name == "Keep me"
        ]


def test_what_is_refused_is_named_and_the_rest_is_merged() -> None:
    with CRM.open("memory:", plugins=[Guard()]) as crm:
        for name in ("Ada", "Keep me", "Adam"):
            crm.customers.add(Customer(name=name if name != "Adam" else None), email="ada@example.org")
        groups = find_groups(crm, rules_of({}), 1).groups
        done = merge(crm, plans(crm, groups, "oldest"))
        assert (1, ["Keep me"]) == (done.merged, [one.gone.name for one in done.refused])
        assert "is kept" in str(done.refused[0].error)


def test_who_changed_since_is_not_merged(crm: CRM) -> None:
    one, other = (crm.customers.add(Customer(name="Ada"), email="ada@example.org") for _ in "12")
    planned = plans(crm, find_groups(crm, rules_of({}), 60).groups, "oldest")
    crm.customers.edit(other.evolve(city="Paris"))
    done = merge(crm, planned)
    assert (0, None, [other.id]) == (done.merged, done.operation_id, [each.gone.id for each in done.refused])
    assert crm.customers.get(one.id).city is None


def test_the_fullest_counts_fields_tags_and_contact_points(crm: CRM) -> None:
    plain = crm.customers.add(Customer(name="Ada"), email="ada@example.org")
    full = crm.customers.add(Customer(name="Ada"), email="ada@example.org")
    crm.contact_points.add(ContactPoint(customer_id=full.id, kind="phone", value="+44 20 7946 0018"))
    groups = find_groups(crm, rules_of({}), 60).groups
    stay: dict[str, Any] = {rule: plans(crm, groups, rule)[0].keep.id for rule in ("oldest", "fullest")}
    assert {"oldest": plain.id, "fullest": full.id} == stay
    with pytest.raises(UsageError, match="no rule 'newest'"):
        plans(crm, groups, "newest")
