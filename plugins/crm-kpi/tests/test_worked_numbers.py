"""The worked numbers that the documentation publishes, computed by the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, LifecycleChange, Money, Relation, Sale, StageChange
from crm_core.values import FixedClock

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = date(2026, 3, 2)


@pytest.fixture
def crm() -> Iterator[CRM]:
    with CRM.open("memory:", clock=FixedClock(NOW)) as opened:
        yield opened


def _deals(crm: CRM, stage: str, number: int, **fields: Any) -> None:
    closed = None if stage in ("new", "proposal") else DAY
    crm.deals.add_many(Deal(title="Deal", stage=stage, closed_at=closed, **fields) for _ in range(number))


def _sale(crm: CRM, customer: Customer, amount: str, on: date = DAY, **fields: Any) -> Sale:
    return crm.sales.add(Sale(customer_id=customer.id, amount=Money(amount, "EUR"), sold_at=on, **fields))


def _value(crm: CRM, name: str, **options: Any) -> Any:
    (row,) = crm.metrics.compute(name, **options)
    assert row.undefined is None, row.undefined
    return row.value


def _customers(crm: CRM, number: int, **fields: Any) -> list[Customer]:
    return list(crm.customers.add_many(Customer(name=f"Customer {n}", **fields) for n in range(number)))


def test_45_won_135_lost_80_open_are_a_win_rate_of_25_percent(crm: CRM) -> None:
    for stage, number in (("won", 45), ("lost", 135), ("new", 80)):
        _deals(crm, stage, number)
    assert 0.25 == _value(crm, "win_rate")


def test_20_won_80_lost_are_a_win_rate_of_20_percent(crm: CRM) -> None:
    _deals(crm, "won", 20)
    _deals(crm, "lost", 80)
    assert 0.2 == _value(crm, "win_rate")


def test_300_won_100_lost_are_a_win_rate_by_value_of_75_percent(crm: CRM) -> None:
    _deals(crm, "won", 3, amount=Money("100", "EUR"))
    _deals(crm, "lost", 1, amount=Money("100", "EUR"))
    assert 0.75 == _value(crm, "win_rate_value")


@pytest.mark.parametrize("amount", [None, Money("0", "EUR")])
def test_the_win_rate_by_value_is_undefined_where_lost_amounts_are_missing_or_0(crm: CRM, amount: Money | None) -> None:
    _deals(crm, "won", 3, amount=Money("100", "EUR"))
    _deals(crm, "lost", 4, amount=amount)
    (row,) = crm.metrics.compute("win_rate_value")
    assert (None, "the amounts of the lost deals are missing or all 0") == (row.value, row.undefined)


def test_10_won_of_100_deals_are_a_close_rate_of_10_percent(crm: CRM) -> None:
    _deals(crm, "won", 10, opened_at=DAY)
    _deals(crm, "new", 90, opened_at=DAY)
    assert 0.1 == _value(crm, "close_rate", period="2026-03")


def test_12_of_100_leads_who_bought_are_a_conversion_of_12_percent(crm: CRM) -> None:
    leads = _customers(crm, 100, first_contact_at=date(2026, 1, 5))
    for lead in leads[:12]:
        _sale(crm, lead, "10")
    assert 0.12 == _value(crm, "lead_conversion", period="2026-01")
    assert 0.12 == _value(crm, "lead_conversion_period", period="2026-01..2026-03")


def test_suppliers_are_no_leads_and_a_win_before_the_first_contact_counts_and_is_flagged(crm: CRM) -> None:
    lead = crm.customers.add(Customer(name="Lead", first_contact_at=date(2026, 4, 1)))
    crm.customers.add(Customer(name="Supplier", role="supplier", first_contact_at=date(2026, 4, 1)))
    _deals(crm, "won", 1, customer_id=lead.id)
    (row,) = crm.metrics.compute("lead_conversion")
    assert (1, 1) == (row.numerator, row.denominator)
    assert {"leads who had bought before their first contact": 1} == row.flagged


def test_cycles_of_45_54_and_39_days_have_the_mean_46_and_the_median_45(crm: CRM) -> None:
    for days in (45, 54, 39):
        _deals(crm, "won", 1, opened_at=DAY - timedelta(days=days))
    assert 46 == _value(crm, "sales_cycle")
    assert 45 == _value(crm, "sales_cycle_median")


def test_a_deal_that_closed_before_it_opened_is_left_out_of_the_cycle_and_counted(crm: CRM) -> None:
    _deals(crm, "won", 1, opened_at=DAY - timedelta(days=10))
    _deals(crm, "won", 1, opened_at=DAY + timedelta(days=10))
    (row,) = crm.metrics.compute("sales_cycle")
    assert (10, {"won deals that closed before they opened": 1}) == (row.value, row.excluded)


def test_wins_10_and_20_days_after_the_first_contact_take_15_days(crm: CRM) -> None:
    for days in (10, 20):
        customer = crm.customers.add(Customer(name="Customer", first_contact_at=DAY - timedelta(days=days)))
        _deals(crm, "won", 1, customer_id=customer.id)
    assert 15 == _value(crm, "first_contact_cycle")


def test_a_base_that_grows_from_100_to_120_grows_by_20_percent(crm: CRM) -> None:
    for customer in _customers(crm, 100):
        _sale(crm, customer, "10", date(2026, 1, 10))
    for customer in _customers(crm, 20):
        _sale(crm, customer, "10", date(2026, 3, 10))
    assert 0.2 == _value(crm, "base_growth", period="2026-03")


def test_of_100_active_customers_10_churn_and_90_stay(crm: CRM) -> None:
    customers = _customers(crm, 100)
    for customer in customers:
        _sale(crm, customer, "10", date(2026, 1, 10))
    changes = crm.records(LifecycleChange)
    for customer in customers[:10]:
        changes.add(LifecycleChange(customer_id=customer.id, to_state="churned", at=date(2026, 3, 10)))
    assert 0.9 == _value(crm, "retention_rate", period="2026-03")
    assert 0.1 == _value(crm, "churn_rate", period="2026-03")
    changes.add(LifecycleChange(customer_id=customers[0].id, to_state="won back", at=date(2026, 4, 10)))
    assert 0.1 == _value(crm, "churn_rate", period="2026-03"), "last March's churn stays true"
    assert 0 == _value(crm, "churn_rate", period="2026-04")


def test_the_sales_of_the_examples(crm: CRM) -> None:
    ada, bob = _customers(crm, 2)
    first = _sale(crm, ada, "100")
    second = _sale(crm, bob, "60")
    crm.sales.refund(second, Money("20", "EUR"), at=DAY + timedelta(days=1))
    assert 140 == _value(crm, "revenue")
    assert 2 == _value(crm, "sales_count")
    assert 70 == _value(crm, "average_order_value")
    assert 70 == _value(crm, "revenue_per_customer")
    assert 0.125 == _value(crm, "refund_rate")
    assert 0 == _value(crm, "repeat_purchase_rate")
    crm.sales.void(first)
    assert 40 == _value(crm, "revenue")


def test_a_refund_counts_in_its_own_period(crm: CRM) -> None:
    (ada,) = _customers(crm, 1)
    sale = _sale(crm, ada, "100", date(2026, 3, 31))
    crm.sales.refund(sale, at=date(2026, 4, 1))
    assert [100, -100] == [
        row.value for row in crm.metrics.compute("revenue", period="2026-03..2026-04", series="month")
    ]


def test_first_purchases_are_net_of_their_refunds_and_a_return_is_not_new(crm: CRM) -> None:
    ada, bob, old = _customers(crm, 3)
    _sale(crm, old, "10", date(2024, 1, 1))
    _sale(crm, ada, "100")
    crm.sales.refund(_sale(crm, bob, "60"), at=DAY + timedelta(days=2))
    _sale(crm, old, "500")
    assert 2 == _value(crm, "new_customers", period="2026-03")
    assert 100 == _value(crm, "net_new_revenue", period="2026-03")


def test_everybody_looks_new_in_the_first_months_of_the_data(crm: CRM) -> None:
    for customer in _customers(crm, 3):
        _sale(crm, customer, "10", date(2026, 1, 20))
    (row,) = crm.metrics.compute("new_customers")
    reason = "customers who look new in the first months of the data, and may have bought before it"
    assert (3, {reason: 3}) == (row.value, row.flagged)


def test_the_pipeline_of_the_examples(crm: CRM) -> None:
    _deals(crm, "qualified", 0)
    crm.deals.add(Deal(title="Deal", stage="qualified", amount=Money("100", "EUR")))
    crm.deals.add(Deal(title="Deal", stage="proposal", amount=Money("200", "EUR")))
    crm.deals.add(Deal(title="Deal", stage="proposal"))
    (value,) = crm.metrics.compute("pipeline_value")
    assert (300, {"open deals without an amount": 1}) == (value.value, value.excluded)
    assert 125 == _value(crm, "weighted_forecast")


def test_20_open_at_25_percent_of_1000_in_50_days_are_100_a_day(crm: CRM) -> None:
    _deals(crm, "new", 20)
    _deals(crm, "won", 5, amount=Money("1000", "EUR"), opened_at=DAY - timedelta(days=50))
    _deals(crm, "lost", 15)
    assert 100 == _value(crm, "sales_velocity")


def test_6_of_10_deals_get_further_and_visits_of_2_4_and_9_days_take_5(crm: CRM) -> None:
    deals = [crm.deals.add(Deal(title="Deal", stage="proposal")) for _ in range(10)]
    for deal in deals[:5]:
        crm.deals.move(deal, "negotiation", at=NOW + timedelta(days=1))
    crm.deals.move(deals[5], "won", at=NOW + timedelta(days=1))
    crm.deals.move(deals[6], "lost", at=NOW + timedelta(days=1))
    rows = {row.group["stage"].id: row for row in crm.metrics.compute("stage_conversion")}
    assert (6, 10, 0.6) == (rows["proposal"].numerator, rows["proposal"].denominator, rows["proposal"].value)


def test_a_deal_opened_after_its_first_move_is_left_out_of_the_stage_it_left_and_counted(crm: CRM) -> None:
    for opened in (DAY, DAY + timedelta(days=20)):
        deal = crm.deals.add(Deal(title="Deal", opened_at=opened))
        common = {"deal_id": deal.id, "pipeline": "sales"}
        changes = crm.records(StageChange)
        for change in list(changes.find()):
            if change.deal_id == deal.id:
                changes.delete(change)
        for days, before, after in ((5, "proposal", "qualified"), (9, "qualified", "negotiation")):
            at = DAY + timedelta(days=days)
            changes.add(StageChange(**common, from_stage=before, to_stage=after, at=at))
    late = {"visits that ended before they began": 1}
    for name, parts in (("stage_conversion", (1, 1)), ("stage_duration", (5, 1))):
        rows = {row.group["stage"].id: row for row in crm.metrics.compute(name)}
        assert (*parts, late) == (rows["proposal"].numerator, rows["proposal"].denominator, rows["proposal"].excluded)
        assert (2, {}) == (rows["qualified"].denominator, rows["qualified"].excluded)
    assert 2 == {row.group["stage"].id: row.numerator for row in crm.metrics.compute("stage_conversion")}["qualified"]


def test_visits_of_2_4_and_9_days_have_the_mean_5_and_the_median_4(crm: CRM) -> None:
    changes = crm.records(StageChange)
    for days in (2, 4, 9):
        deal = crm.deals.add(Deal(title="Deal", stage="new", opened_at=DAY))
        leaving = DAY + timedelta(days=days)
        common = {"deal_id": deal.id, "pipeline": "sales"}
        changes.add(StageChange(**common, from_stage="proposal", to_stage="won", at=leaving + timedelta(days=400)))
        changes.add(
            StageChange(**common, from_stage=None, to_stage="proposal", at=leaving + timedelta(days=400 - days))
        )
    period = "2027"
    mean = {row.group["stage"].id: row.value for row in crm.metrics.compute("stage_duration", period=period)}
    middle = {row.group["stage"].id: row.value for row in crm.metrics.compute("stage_duration_median", period=period)}
    assert (5, 4) == (mean["proposal"], middle["proposal"])


def test_people_count_as_the_organisation_they_work_for(crm: CRM) -> None:
    firm, ada, bob = _customers(crm, 3)
    for person in (ada, bob):
        crm.relations.add(Relation(customer_id=person.id, other_id=firm.id, kind="works for"))
        _sale(crm, person, "50")
    assert 1 == _value(crm, "new_customers")
    assert 100 == _value(crm, "revenue_per_customer")
    assert 1 == _value(crm, "repeat_purchase_rate")
