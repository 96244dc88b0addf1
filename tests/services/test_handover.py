"""Handing work over: what is open goes to the other one, what is closed keeps its owner, and undo takes it back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from crm_core import CRM, Customer, Deal, Interaction, Money, User, hookimpl
from crm_core.errors import NotFound, UsageError, Vetoed
from crm_core.events import DealsChanging, Veto
from crm_core.records import Extension, extension, reference
from tests.opening import STORAGES, content, url_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@extension("desk", extends=Interaction)
class Desk(Extension):
    assignee_id: int | None = reference("user", "Assigned to", default=None)


class DeskPlugin:
    """Assigns interactions to users, and can refuse changes of deals."""

    refuses = ""

    @hookimpl
    def register_fields(self) -> Iterable[type[Extension]]:
        return [Desk]

    @hookimpl
    def before_deals_change(self, event: DealsChanging) -> Iterable[Veto]:
        return [
            Veto(at, "owner_id", "stays") for at, one in enumerate(event.changes) if one.record.title == self.refuses
        ]


@attrs.frozen
class World:
    crm: CRM
    plugin: DeskPlugin
    sara: User
    davit: User
    mine: Customer
    other: Customer
    open: Deal
    won: Deal


@pytest.fixture(params=STORAGES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    plugin = DeskPlugin()
    with CRM.open(url_of(str(request.param), tmp_path), plugins=[plugin]) as crm:
        sara, davit = crm.users.add(User(name="Sara")), crm.users.add(User(name="Davit"))
        mine = crm.customers.add(Customer(name="Ada", owner_id=sara.id, country="GB"))
        other = crm.customers.add(Customer(name="Bob", owner_id=davit.id, country="AM"))
        won = crm.deals.add(Deal(title="Won", customer_id=mine.id, owner_id=sara.id, amount=Money("5", "EUR")))
        won = crm.deals.move(won, "won")
        opened = crm.deals.add(Deal(title="Open", customer_id=other.id, owner_id=sara.id))
        for given in (
            Interaction(customer_id=mine.id, needs_answer=True, author_id=sara.id, body="took the call"),
            Interaction(customer_id=mine.id, needs_answer=True, answered_at=NOON, author_id=sara.id, body="answered"),
            Interaction(customer_id=mine.id, needs_answer=True, direction="out", author_id=sara.id, body="wrote"),
            Interaction(customer_id=other.id, needs_answer=True, body="assigned").with_ext(Desk(assignee_id=sara.id)),
        ):
            crm.interactions.add(given)
        yield World(crm, plugin, sara, davit, mine, other, opened, won)


def users_of(world: World) -> dict[str, tuple[int | None, int | None]]:
    return {str(one.body): (one.author_id, one.ext(Desk).assignee_id) for one in world.crm.interactions.find()}


def test_open_work_goes_over_and_closed_work_keeps_its_owner(world: World) -> None:
    crm, sara, davit = world.crm, world.sara.id, world.davit.id
    report = crm.reassign([sara], davit)
    assert (1, 1, 2) == (report.customers, report.deals, report.interactions)
    assert davit == crm.customers.get(world.mine.id).owner_id
    assert (davit, sara) == (crm.deals.get(world.open.id).owner_id, crm.deals.get(world.won.id).owner_id)
    assert [sara] == [sale.owner_id for sale in crm.sales.find()]
    expected = {
        "took the call": (davit, None), "answered": (sara, None), "wrote": (sara, None), "assigned": (None, davit)
    }  # fmt: skip
    assert expected == users_of(world)
    assert ["owner_id"] == [one.field for one in crm.records("deal_change").find()]  # type: ignore[attr-defined]


def test_a_dry_run_counts_the_same_and_writes_nothing(world: World) -> None:
    crm = world.crm
    before, log = content(crm), crm.ledger.operations(limit=100)
    dry = crm.reassign([world.sara.id], world.davit.id, dry_run=True)
    assert (before, log) == (content(crm), crm.ledger.operations(limit=100))
    assert (True, None) == (dry.dry_run, dry.operation_id)
    done = crm.reassign([world.sara.id], world.davit.id)
    assert dry == attrs.evolve(done, dry_run=True, operation_id=None)


def test_it_is_one_operation_that_undo_takes_back(world: World) -> None:
    crm = world.crm
    before, count = content(crm), len(crm.ledger.operations(limit=100))
    report = crm.reassign([world.sara.id], world.davit.id)
    assert count + 1 == len(crm.ledger.operations(limit=100))
    assert report.operation_id is not None
    undone = crm.ledger.undo(report.operation_id)
    assert ((), ()) == (undone.kept, undone.refused)
    assert before == content(crm)


def test_a_filter_of_customers_narrows_it_to_what_is_theirs(world: World) -> None:
    report = world.crm.reassign([world.sara.id], world.davit.id, where='country = "GB"')
    assert (1, 0, 1) == (report.customers, report.deals, report.interactions)
    assert (world.sara.id, None) == users_of(world)["answered"]
    assert world.sara.id == world.crm.deals.get(world.open.id).owner_id


def test_nothing_to_hand_over_is_no_operation(world: World) -> None:
    nobody = world.crm.users.add(User(name="New"))
    report = world.crm.reassign([nobody.id], world.davit.id)
    assert (0, 0, 0, None) == (report.customers, report.deals, report.interactions, report.operation_id)


def test_who_takes_over_must_be_somebody_else_and_active(world: World) -> None:
    crm = world.crm
    gone = crm.users.add(User(name="Gone", active=False))
    with pytest.raises(UsageError, match="Gone is inactive") as caught:
        crm.reassign([world.sara.id], gone.id)
    assert "active=yes" in caught.value.hint
    assert 1 == crm.reassign([world.sara.id, gone.id], world.davit.id).customers
    with pytest.raises(UsageError, match="Davit would hand over to Davit"):
        crm.reassign([world.davit.id], world.davit.id)
    with pytest.raises(NotFound):
        crm.reassign([world.davit.id], 1)


def test_a_veto_ends_it_and_what_went_over_before_goes_back(world: World) -> None:
    crm = world.crm
    before = content(crm)
    world.plugin.refuses = "Open"
    with pytest.raises(Vetoed, match="stays"):
        crm.reassign([world.sara.id], world.davit.id)
    assert world.sara.id == crm.deals.get(world.open.id).owner_id
    world.plugin.refuses = ""
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert before == content(crm)
