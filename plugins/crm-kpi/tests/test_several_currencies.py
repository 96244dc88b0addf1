"""Several currencies in one answer: what belongs to none is counted once, and each row names its currency."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, Money, Sale
from crm_core.values import FixedClock
from crm_kpi.report import build_report

NOW = datetime(2018, 3, 15, tzinfo=UTC)
OF_SALES = {"sales without an amount": 1, "refunds without an amount": 1}
LEFT_OUT = {
    "revenue": OF_SALES,
    "average_order_value": OF_SALES,
    "refund_rate": OF_SALES,
    "revenue_per_customer": {"sales without an amount": 1},
    "net_new_revenue": {"first purchases without an amount": 1},
    "pipeline_value": {"open deals without an amount": 1},
    "weighted_forecast": {"open deals without an amount": 1},
    "win_rate_value": {"won deals without an amount": 1, "lost deals without an amount": 1},
    "sales_velocity": {"open deals without an amount, which belong to no currency": 1},
}


@pytest.fixture(params=["memory", pytest.param("sqlite", marks=pytest.mark.database("sqlite"))])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    """Sales, refunds and deals in three currencies, and one of each without an amount."""
    if request.param == "sqlite":
        pytest.importorskip("crm_storage_sql", reason="NOT RUN: crm-storage-sql is not installed")
    url = "memory:" if request.param == "memory" else f"sqlite:///{(tmp_path / 'crm.db').as_posix()}"
    with CRM.open(url, clock=FixedClock(NOW)) as opened:
        for code in ("EUR", "AMD", "USD", None):
            _trade(opened, Money("10", code) if code else None)
        yield opened


def _trade(crm: CRM, amount: Money | None) -> None:
    """Add a buyer with an open, a lost and a won deal, the sale that comes of the won one, and its refund."""
    buyer = crm.customers.add(Customer(name=f"Buyer of {amount}"))
    crm.deals.add(Deal(title="Open", stage="new", amount=amount, opened_at=date(2018, 1, 1)))
    for stage in ("won", "lost"):
        days = {"opened_at": date(2018, 1, 1), "closed_at": date(2018, 1, 11)}
        crm.deals.add(Deal(title=stage, customer_id=buyer.id, stage=stage, amount=amount, **days))
    (sale,) = (one for one in crm.sales.find() if one.customer_id == buyer.id)
    refund = Sale(kind="refund", refunds_sale_id=sale.id, amount=amount, sold_at=date(2018, 2, 5))
    crm.sales.add(refund.evolve(customer_id=buyer.id))


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_has_no_currency_is_counted_in_one_row(crm: CRM, name: str) -> None:
    rows = crm.metrics.compute(name)
    assert [("AMD", {}), ("EUR", LEFT_OUT[name]), ("USD", {})] == [(row.currency, row.excluded) for row in rows]
    said = [f"{rows[0].label}: {count} left out: {reason}" for reason, count in LEFT_OUT[name].items()]
    assert said == [one for one in rows.remarks() if "left out" in one]


def test_who_looks_new_is_doubtful_once(crm: CRM) -> None:
    rows = crm.metrics.compute("net_new_revenue")
    assert [1, 2, 1] == [sum(row.flagged.values()) for row in rows]


@pytest.mark.parametrize("series", [None, "month"])
def test_a_doubtful_record_without_a_currency_is_counted_once_too(crm: CRM, series: str | None) -> None:
    rows = crm.metrics.compute("pipeline_value", period="2018-01", series=series)
    assert [] == [row.flagged for row in rows if row.flagged]
    for deal in list(crm.deals.find('title = "Open"')):
        crm.deals.move(deal, "lost")
    rows = crm.metrics.compute("pipeline_value", period="2018-01", series=series)
    assert [[1], [2], [1]] == [list(row.flagged.values()) for row in rows]


def test_the_first_row_counts_where_the_currency_of_the_workspace_is_not_among_them(crm: CRM) -> None:
    for sale in list(crm.sales.find('kind = "sale"')):
        if sale.amount and sale.amount.currency == "EUR":
            crm.sales.void(sale)
    rows = crm.metrics.compute("revenue")
    assert [("AMD", OF_SALES), ("USD", {})] == [(row.currency, row.excluded) for row in rows]


def test_each_group_counts_its_own(crm: CRM) -> None:
    for row in crm.metrics.compute("revenue", by="customer"):
        unknown = row.group["customer"].label == "Buyer of None"
        assert (OF_SALES if unknown else {}) == row.excluded


def test_a_month_of_unknown_amounts_alone_is_0_in_no_currency(crm: CRM) -> None:
    crm.sales.add(Sale(sold_at=date(2018, 3, 1)))
    rows = crm.metrics.compute("revenue", series="month", period="2018-03")
    assert [("EUR", {"sales without an amount": 1})] == [(row.currency, row.excluded) for row in rows]
    rows = [
        row for row in crm.metrics.compute("revenue", series="month") if row.period and row.period.name == "2018-03"
    ]
    elsewhere = "nothing to count: what was left out has no currency"
    assert [
        ("AMD", None, elsewhere),
        ("EUR", None, "nothing to count: 1 sales without an amount"),
        ("USD", None, elsewhere),
    ] == [(row.currency, row.value, row.undefined) for row in rows]


def test_every_row_has_its_reason_though_another_one_counts(crm: CRM) -> None:
    for deal in list(crm.deals.find('title = "lost"')):
        if deal.amount:
            crm.deals.delete(deal)
    rows = crm.metrics.compute("win_rate_value")
    assert {"the amounts of the lost deals are missing or all 0"} == {row.undefined for row in rows}
    assert 1 == sum(row.excluded.get("lost deals without an amount", 0) for row in rows)


def _velocities(crm: CRM, **options: Any) -> dict[str | None, float]:
    return {row.currency: row.value for row in crm.metrics.compute("sales_velocity", **options)}


def test_the_win_rate_and_the_cycle_of_the_velocity_are_those_of_all_deals() -> None:
    won: dict[str, Any] = {"stage": "won", "opened_at": date(2018, 1, 1), "closed_at": date(2018, 1, 11)}
    eur, usd = Money("100", "EUR"), Money("100", "USD")
    with CRM.open("memory:", clock=FixedClock(NOW)) as crm:
        wins = [crm.deals.add(Deal(title="Won", amount=eur, **won)) for _ in range(2)]
        crm.deals.add_many(Deal(title="Lost", stage="lost", closed_at=date(2018, 1, 11)) for _ in range(8))
        still = [crm.deals.add(Deal(title="Open", stage="new", amount=eur)) for _ in range(4)]
        assert ({"EUR": 8}, 0.2) == (_velocities(crm), crm.metrics.compute("win_rate")[0].value)
        crm.deals.edit(wins[0].evolve(amount=usd, closed_at=date(2018, 1, 31)))
        for deal in still[:2]:
            crm.deals.edit(deal.evolve(amount=usd))
        assert (20, 0.2) == tuple(crm.metrics.compute(name)[0].value for name in ("sales_cycle", "win_rate"))
        for options in ({}, {"period": "2018-01"}):
            assert {"EUR": 2, "USD": 2} == _velocities(crm, **options), "2 open x 20% x 100 / 20 days, of each"


@pytest.mark.parametrize("options", [{}, {"around": "2018-01-15", "months": 1}, {"series": "month"}])
def test_rows_that_differ_by_currency_name_it(crm: CRM, options: dict[str, object]) -> None:
    head, cells = crm.metrics.compute(["refund_rate", "win_rate"], **options).table()  # type: ignore[arg-type]
    at = head.index("currency")
    found: dict[str, set[str]] = {}
    for line in cells:
        found.setdefault(line[0], set()).add(line[at])
    assert {"Refund rate": {"AMD", "EUR", "USD"}, "Win rate": {""}} == found
    places = [tuple(line[: at + 1]) for line in cells]
    assert len(set(places)) == len(places)


def test_one_currency_needs_no_column() -> None:
    with CRM.open("memory:", clock=FixedClock(NOW)) as crm:
        _trade(crm, Money("10", "EUR"))
        assert "currency" not in crm.metrics.compute(["refund_rate", "revenue"]).table()[0]


def test_the_report_counts_once_and_names_the_currency_of_what_is_undefined(crm: CRM) -> None:
    numbers = build_report(crm, period="2018-02").to_json()["sections"][0]
    assert 1 == numbers["notes"].count("Revenue: 1 left out: refunds without an amount")
    assert not [note for note in numbers["notes"] if "3 left out" in note]
    labels = [tile["label"] for tile in numbers["tiles"] if tile["label"].startswith("Average order value")]
    assert ["Average order value · EUR"] == labels
