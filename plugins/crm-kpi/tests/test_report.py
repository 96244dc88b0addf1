from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest

from crm_core import CRM, Customer, Deal, Money, Sale, User
from crm_core.values import FixedClock, Period
from crm_kpi.charts import columns
from crm_kpi.page import render_page
from crm_kpi.report import build_report, previous

NOW = datetime(2018, 3, 15, tzinfo=UTC)


@pytest.fixture
def crm() -> Iterator[CRM]:
    with CRM.open("memory:", clock=FixedClock(NOW)) as opened:
        owner = opened.users.add(User(name="<b>آدا</b>"))
        customer = opened.customers.add(Customer(name="Firm"))
        for on, amount in ((date(2017, 12, 5), "100"), (date(2018, 1, 5), "150"), (date(2018, 2, 5), "90")):
            opened.sales.add(Sale(customer_id=customer.id, amount=Money(amount, "EUR"), sold_at=on))
            opened.deals.add(Deal(title="Deal", owner_id=owner.id, stage="lost", closed_at=on))
        opened.deals.add(Deal(title="Deal", stage="new", amount=Money("50", "EUR")))
        yield opened


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(crm: CRM) -> None:
    page = render_page(build_report(crm))
    assert [] == re.findall(r"<script|https?:|//|url\(|@import|<link|<img|\son\w+=", page)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page


def test_names_are_escaped_and_run_in_their_own_direction(crm: CRM) -> None:
    page = render_page(build_report(crm))
    assert '<dt dir="auto">&lt;b&gt;آدا&lt;/b&gt;</dt>' in page
    assert "<b>آدا" not in page


def test_the_report_compares_with_the_period_before(crm: CRM) -> None:
    numbers = build_report(crm, period="2018-01").to_json()["sections"][0]
    tiles = {tile["label"]: tile for tile in numbers["tiles"]}
    assert ("150.00 EUR", "+50.0% from 100.00 EUR", "better") == tuple(
        tiles["Revenue"][part] for part in ("text", "detail", "trend")
    )


def test_the_report_of_an_empty_crm_says_so() -> None:
    with CRM.open("memory:") as crm:
        report = build_report(crm, period="2018-01")
        assert "<svg" not in render_page(report) or "0.00 EUR" in render_page(report)
        assert all(data.get("notes") or data.get("tiles") or data.get("charts") for _, _, data in report.sections)


@pytest.mark.parametrize(
    ("period", "before"),
    [
        ("2018-03", "2018-02"),
        ("2018-Q1", "2017-Q4"),
        ("2018", "2017"),
        ("2018-01..2018-02", "2017-11-01..2017-12-31"),
        ("2018-03-10..2018-03-14", "2018-03-05..2018-03-09"),
    ],
)
def test_the_period_before_is_as_long_in_the_calendars_units(crm: CRM, period: str, before: str) -> None:
    bounds = Period.parse(period).resolve(crm.calendar, crm.zone, NOW)
    found = previous(crm, bounds)
    assert found is not None
    assert (before, bounds.start) == (found.name, found.end)


def test_a_chart_of_zeros_and_of_negative_values_can_be_drawn() -> None:
    assert columns(["a"], [0.0], ["0"], title="t").count('class="bar"') == 1
    assert columns(["a", "b"], [-5.0, 10.0], ["-5", "10"], title="t").count('class="bar"') == 2
