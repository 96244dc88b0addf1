from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core import CRM, Customer, Money, Sale
from crm_core.errors import InvalidValue
from crm_core.events import ChangedRecord, ProfileWanted
from crm_core.extend import ReportQuery, Update
from crm_core.testing import PluginContract
from crm_loyalty.accounts import entries_of, redeem, settle
from crm_loyalty.lots import lots_of
from crm_loyalty.records import Loyalty, LoyaltyEntry, tier_of
from crm_loyalty.sections import PROFILE, REPORT

JANUARY, MARCH, JUNE = date(2026, 1, 10), date(2026, 3, 10), date(2026, 6, 1)


class TestThePlugin(PluginContract):
    package = "crm_loyalty"


@pytest.fixture(params=["memory:", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    url = f"sqlite:///{tmp_path / 'crm.db'}" if request.param == "sqlite" else request.param
    with CRM.open(url) as opened:
        yield opened


@pytest.fixture
def ada(crm: CRM) -> Customer:
    return crm.customers.add(Customer(name="Ada"), email="ada@example.org")


def sell(crm: CRM, customer: Customer, amount: str, at: date = JANUARY) -> Sale:
    return crm.sales.add(Sale(customer_id=customer.id, amount=Money(amount, "EUR"), sold_at=at))


def held(crm: CRM, customer: Customer) -> tuple[int | None, str | None]:
    loyalty = crm.customers.get(customer.id).ext(Loyalty)
    return loyalty.points, loyalty.tier


def test_merged_customers_have_the_points_of_both_and_separated_ones_their_own(crm: CRM, ada: Customer) -> None:
    twin = crm.customers.add(Customer(name="Ada L."))
    sell(crm, ada, "100")
    sell(crm, twin, "450")
    report = crm.customers.merge(ada.id, twin.id)
    assert (550, "silver") == held(crm, ada)
    redeem(crm, ada.id, 50)
    crm.ledger.undo(int(report.operation_id or 0))
    assert [(50, "bronze"), (450, "bronze")] == [held(crm, one) for one in (ada, twin)]


def test_points_are_spent_first_in_first_out(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "100", JANUARY)
    sell(crm, ada, "150", MARCH)
    redeem(crm, ada.id, 120)
    assert [0, 130] == [lot.left for lot in lots_of(entries_of(crm, ada.id))]
    assert (130, "bronze") == held(crm, ada)


def test_who_bought_nothing_has_no_points(crm: CRM, ada: Customer) -> None:
    assert (None, None) == held(crm, ada)


@pytest.mark.parametrize(("amount", "tier"), [("499.99", "bronze"), ("500", "silver"), ("2000", "gold")])
def test_the_tier_follows_from_the_balance(crm: CRM, ada: Customer, amount: str, tier: str) -> None:
    sell(crm, ada, amount)
    assert tier == held(crm, ada)[1]


def test_undoing_a_sale_takes_its_points_back(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "100")
    with crm.operation("a mistake") as mistake:
        sell(crm, ada, "600", MARCH)
    assert (700, "silver") == held(crm, ada)
    report = crm.ledger.undo(mistake.id)
    assert ((), {"sale": 1}) == (report.refused, dict(report.reversed))
    assert (100, "bronze") == held(crm, ada)
    assert [100, 0] == [lot.left for lot in lots_of(entries_of(crm, ada.id))]


def test_undo_with_what_followed_leaves_no_entry(crm: CRM, ada: Customer) -> None:
    with crm.operation("a mistake") as mistake:
        sell(crm, ada, "600")
    crm.ledger.undo(mistake.id, with_consequences=True)
    assert 0 == sum(entry.points for entry in entries_of(crm, ada.id))
    assert (0, "bronze") == held(crm, ada)


def test_a_refund_takes_its_part_back(crm: CRM, ada: Customer) -> None:
    crm.sales.refund(sell(crm, ada, "100"), Money("30", "EUR"))
    assert 70 == held(crm, ada)[0]


def test_a_voided_sale_gives_nothing(crm: CRM, ada: Customer) -> None:
    crm.sales.void(sell(crm, ada, "100"))
    assert 0 == held(crm, ada)[0]


def test_a_sale_that_was_another_customers_moves_its_points(crm: CRM, ada: Customer) -> None:
    grace = crm.customers.add(Customer(name="Grace"))
    sale = sell(crm, ada, "100")
    crm.sales.edit(sale.evolve(customer_id=grace.id))
    assert (0, 100) == (held(crm, ada)[0], held(crm, grace)[0])


def test_a_delivery_that_comes_twice_changes_nothing(crm: CRM, ada: Customer) -> None:
    sale = sell(crm, ada, "100")
    before = entries_of(crm, ada.id)
    settle(crm, [ChangedRecord(sale.id, "created", sale, {})], crm.clock.now())
    assert before == entries_of(crm, ada.id)


def test_an_imported_sale_gives_points_too(crm: CRM, ada: Customer) -> None:
    with crm.operation("import sales.csv", kind="import"):
        sell(crm, ada, "100")
    assert 100 == held(crm, ada)[0]


def test_nobody_spends_more_than_there_is(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "100")
    for points in (101, 0, -1):
        with pytest.raises(InvalidValue, match="cannot be spent of 100"):
            redeem(crm, ada.id, points)
    assert 100 == held(crm, ada)[0]


def test_points_can_be_filtered_by(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "600")
    crm.customers.add(Customer(name="Grace"))
    assert ["Ada"] == [one.name for one in crm.customers.find('loyalty.points > 500 and loyalty.tier = "silver"')]


def test_a_balance_does_not_stand_in_the_way_of_undo(crm: CRM, ada: Customer) -> None:
    with crm.operation("rename") as rename:
        crm.customers.edit(ada.evolve(name="Ada Lovelace"))
    sell(crm, ada, "600")
    crm.ledger.undo(rename.id)
    assert ("Ada", 600) == (crm.customers.get(ada.id).name, held(crm, ada)[0])


def test_the_numbers_of_loyalty(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "100", JANUARY)
    sell(crm, ada, "150", MARCH)
    redeem(crm, ada.id, 120)
    rows = {row.metric: row.value for row in crm.metrics.compute(["points_outstanding", "redemption_rate"])}
    assert (130, 0.48) == (rows["points_outstanding"], float(rows["redemption_rate"]))
    by_quarter = crm.metrics.compute("points_outstanding", period="2026-Q1", series="month")
    assert [100, 100, 250] == [row.value for row in by_quarter]


def test_tiers_are_a_segment(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "600")
    found = crm.segments.run("loyalty_tiers")
    assert [("silver", 1)] == [(group.label, group.customers) for group in found.summary if group.customers]


def test_the_report_counts_the_tiers(crm: CRM, ada: Customer) -> None:
    query = ReportQuery(crm=crm, period=None, previous=None, as_of=crm.clock.now())
    assert "No customer has points yet" in REPORT.build(query)["notes"][0]
    sell(crm, ada, "600")
    assert [("gold", 0), ("silver", 1), ("bronze", 0)] == REPORT.build(query)["table"]["rows"]


def test_tiers_that_an_earlier_version_stored_are_renamed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_ext(Loyalty(points=600)))
        manifest = crm.storage.schema()
        assert manifest is not None
        crm.storage.begin()
        crm.storage.update_if_version("customers", [Update(ada.id, ada.version, {"loyalty__tier": "plus"})])
        crm.storage.commit()
        crm.storage.apply([], attrs.evolve(manifest, owners={**manifest.owners, "crm-loyalty": "0.1.0"}))
    with CRM.open(url) as crm:
        assert (600, "silver") == held(crm, ada)


def test_the_command_shows_and_spends(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url) as crm:
        sell(crm, crm.customers.add(Customer(name="Ada"), email="ada@example.org"), "600")
    call = [sys.executable, "-m", "crm_core", "-w", url, "--json", "loyalty"]
    done = subprocess.run([*call, "redeem", "ada@example.org", "۱۲۰"], capture_output=True, text=True, encoding="utf-8")
    assert (0, "") == (done.returncode, done.stderr)
    shown = json.loads(done.stdout)
    assert ("Ada", 480, "bronze") == (shown["customer"]["label"], shown["points"], shown["tier"])
    assert [480] == [lot["left"] for lot in shown["lots"]]


def test_the_profile_shows_the_lots(crm: CRM, ada: Customer) -> None:
    sell(crm, ada, "100")
    rows = PROFILE.build(ProfileWanted(crm=crm, customer=ada))
    assert [{"earned": 100, "left": 100, "at": JANUARY}] == rows


@given(st.lists(st.integers(-300, 300).filter(bool), max_size=12))
def test_while_nothing_is_owed_the_lots_hold_the_balance(moves: list[int]) -> None:
    entries: list[LoyaltyEntry] = []
    for number, points in enumerate(moves):
        balance = sum(entry.points for entry in entries)
        kind = "earned" if points > 0 else "redeemed"
        entries.append(LoyaltyEntry(id=number, customer_id=1, kind=kind, points=max(points, -balance), at=JANUARY))
    lots = lots_of(entries)
    assert sum(entry.points for entry in entries) == sum(lot.left for lot in lots)
    spent = [lot.left < lot.earned for lot in lots if lot.left]
    assert not any(spent[1:])  # only the oldest lot that has points left may be begun


def test_what_is_owed_is_paid_by_the_next_lot() -> None:
    points = [100, -150, 80]
    entries = [
        LoyaltyEntry(id=at, customer_id=1, kind="earned", points=one, at=JANUARY) for at, one in enumerate(points)
    ]
    assert [0, 30] == [lot.left for lot in lots_of(entries)]


@given(st.integers(), st.integers())
def test_more_points_are_never_a_lower_tier(one: int, other: int) -> None:
    order = ["bronze", "silver", "gold"]
    low, high = sorted((one, other))
    assert order.index(tier_of(low)) <= order.index(tier_of(high))
