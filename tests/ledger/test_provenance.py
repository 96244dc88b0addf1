"""Which operation set a field last, and what a record said at a version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import CRM, Customer, Deal, Money


@pytest.fixture(params=["memory:", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    if request.param == "sqlite":
        request.node.user_properties.append(("database", "sqlite"))
    url = "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url) as opened:
        yield opened


def kinds(crm: CRM, record_id: int) -> dict[str, str]:
    found = crm.ledger.last_changes("customer", [record_id]).get(record_id, {})
    return {path: change.operation.kind for path, change in found.items()}


def test_what_is_as_it_was_created_has_no_last_change(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", tags=("a",)))
    assert {} == crm.ledger.last_changes("customer", [ada.id])


def test_the_last_change_of_each_field_is_known_with_its_operation(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    with crm.operation("brought", kind="import"):
        ada = crm.customers.edit(ada.evolve(city="Rome", country="IT"))
    crm.customers.edit(ada.evolve(city="Oslo", tags=("vip",)))
    assert {"city": "user", "tags": "user", "country": "import"} == kinds(crm, ada.id)


def test_an_undo_is_no_change_of_its_own(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", city="Rome"))
    ada = crm.customers.edit(ada.evolve(city="Oslo"))
    with crm.operation("brought", kind="import") as brought:
        crm.customers.edit(ada.evolve(city="Bern"))
    assert {"city": "import"} == kinds(crm, ada.id)
    undone = crm.ledger.undo(brought.id)
    assert {"city": "user"} == kinds(crm, ada.id)
    assert undone.undo_id is not None
    crm.ledger.undo(undone.undo_id)
    assert {"city": "import"} == kinds(crm, ada.id)


def test_money_and_moments_of_two_columns_are_one_field(crm: CRM) -> None:
    deal = crm.deals.add(Deal(title="x", amount=Money("1", "EUR")))
    crm.deals.edit(deal.evolve(amount=Money("2", "USD")))
    assert {"amount"} == set(crm.ledger.last_changes("deal", [deal.id])[deal.id])


def test_a_version_that_never_was_is_left_out(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    assert {} == crm.ledger.as_read("customer", {ada.id: 7})
    assert {} == crm.ledger.as_read("customer", {1: 1})


words = st.sampled_from([None, "Ada", "سارا", "Արամ", "x"])
edits = st.lists(
    st.fixed_dictionaries(
        {}, optional={"name": words, "city": words, "tags": st.sampled_from([(), ("a",), ("b", "a,")])}
    ),
    max_size=6,
)


@given(edits=edits)
def test_every_version_can_be_read_again(edits: list[dict[str, object]]) -> None:
    with CRM.open("memory:") as crm:
        record = crm.customers.add(Customer(name="start", tags=("b",)))
        seen = {record.version: record}
        for edit in edits:
            record = crm.customers.edit(record.evolve(**edit))
            seen[record.version] = record
        for version, expected in seen.items():
            found = crm.ledger.as_read("customer", {record.id: version})[record.id]
            assert (expected.name, expected.city, expected.version) == (found.name, found.city, found.version)
            assert set(expected.tags) == set(found.tags)
