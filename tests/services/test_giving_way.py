"""Merges and erasures while others write: what gave way, or found a record changed, is done again as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, hookimpl
from crm_core.errors import ConflictError, StorageConflict
from crm_core.events import CustomersMerged, DealsChanging
from crm_core.services.privacy.erasing import Eraser
from tests.databases import DATABASES, new_url

ON_SERVERS = DATABASES[1:]


def give_way(crm: CRM, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the next commits fail as a database does that prefers another transaction."""
    commit, left = crm.storage.commit, iter(range(times))

    def failing() -> None:
        if next(left, None) is not None:
            crm.storage.rollback()
            raise StorageConflict("two transactions were in each other's way")
        commit()

    monkeypatch.setattr(crm.storage, "commit", failing)


def ada_twice(crm: CRM) -> tuple[Customer, Customer]:
    keep, gone = crm.customers.add(Customer(name="Ada")), crm.customers.add(Customer(name="Ada L."))
    crm.deals.add(Deal(customer_id=gone.id, title="Licence"))
    return keep, gone


def test_a_merge_that_gave_way_is_done_again_and_noted_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[CustomersMerged] = []

    class Listener:
        @hookimpl
        def on_customers_merged(self, event: CustomersMerged) -> None:
            told.append(event)

    with CRM.open(url, plugins=[Listener()]) as crm:
        keep, gone = ada_twice(crm)
        give_way(crm, monkeypatch, 3)
        with crm.operation("clean up", kind="merge") as operation:
            crm.customers.merge(keep, gone)
        assert 1 == len(operation.detail["merged"])
        assert [keep.id] == [one.id for one in crm.customers.find()]
        assert [(keep.id, gone.id)] == [(pair.kept, pair.gone) for event in told for pair in event.pairs]
        crm.ledger.undo(crm.ledger.resolve("last"))
        assert 2 == crm.customers.count()


def test_an_erasure_that_gave_way_is_done_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with CRM.open(url) as crm:
        _, gone = ada_twice(crm)
        give_way(crm, monkeypatch, 3)
        erasure = crm.privacy.erase(gone.id)
        assert 1 == erasure.receipt.emptied["customer"]
        assert ["erase customer"] == [one.label for one in crm.ledger.operations() if one.label.startswith("erase")]
        assert crm.customers.get(gone.id).name is None


def test_a_merge_that_always_gives_way_ends_and_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with CRM.open(url) as crm:
        keep, gone = ada_twice(crm)
        give_way(crm, monkeypatch, 1000)
        with pytest.raises(StorageConflict):
            crm.customers.merge(keep, gone)
        assert 2 == crm.customers.count()


def test_a_customer_that_changed_since_it_was_read_is_refused_at_once(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CRM.open(url) as crm:
        keep, gone = ada_twice(crm)
        crm.customers.edit(keep.evolve(city="London"))
        begins: list[object] = []
        begin: Callable[..., None] = crm.storage.begin

        def counted(**options: Any) -> None:
            begins.append(options)
            begin(**options)

        monkeypatch.setattr(crm.storage, "begin", counted)
        with pytest.raises(ConflictError):
            crm.customers.merge(keep, gone)
        assert 1 == len(begins), "trying again would find the same"


@pytest.fixture(params=ON_SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return new_url(str(request.param), tmp_path)


def test_a_deal_that_somebody_edits_during_a_merge_follows_with_the_edit(server: str) -> None:
    edits = iter(["mine"])

    class Colleague:
        @hookimpl
        def before_deals_change(self, event: DealsChanging) -> None:
            for title in edits if event.origin.kind == "merge" else ():
                deal = other.deals.find().records[0]
                other.deals.edit(deal.evolve(title=title))

    with CRM.open(server) as other, CRM.open(server, plugins=[Colleague()]) as crm:
        keep, gone = ada_twice(crm)
        report = crm.customers.merge(keep, gone)
        assert {"deal": 1} == dict(report.moved)
        assert [(keep.id, "mine")] == [(deal.customer_id, deal.title) for deal in crm.deals.find()]


def test_a_deal_that_somebody_edits_during_an_erasure_is_erased_with_the_edit(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(["Nobody's name"])
    edit = Eraser._edit

    def late(eraser: Eraser, kind: Any, *given: Any) -> Any:
        for step in steps if kind.name == "deal" else ():
            deal = other.deals.find().records[0]
            other.deals.edit(deal.evolve(next_step=step))
        return edit(eraser, kind, *given)

    monkeypatch.setattr(Eraser, "_edit", late)
    with CRM.open(server) as other, CRM.open(server) as crm:
        _, gone = ada_twice(crm)
        crm.privacy.erase(gone.id)
        assert [None] == [deal.next_step for deal in crm.deals.find()]
