"""What the engine promises beyond the numbers: currencies, pipelines, groups, comparisons, reasons and notes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, Money, Sale, Team, User
from crm_core.errors import UsageError
from crm_core.values import FixedClock, format_id

NOW = datetime(2018, 3, 15, tzinfo=UTC)
SETTINGS = """
[crm]
currency = "EUR"
zone = "Europe/Berlin"
{crm}
[storage]
url = "memory:"
[pipelines.sales]
stages = [{{name = "new"}}, {{name = "won", kind = "won", probability = "1"}}, {{name = "lost", kind = "lost"}}]
[pipelines.renewals]
stages = [{{name = "due"}}, {{name = "won", kind = "won"}}, {{name = "lost", kind = "lost"}}]
[fields.customer.sector]
type = "text"
label = "Sector"
{rest}
"""


def _open(tmp_path: Path, crm: str = "", rest: str = "") -> CRM:
    (tmp_path / "crm.toml").write_text(SETTINGS.format(crm=crm, rest=rest), encoding="utf-8")
    return CRM.open(tmp_path, clock=FixedClock(NOW))


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    with _open(tmp_path) as opened:
        yield opened


def _sell(crm: CRM, amount: str, currency: str, on: date) -> None:
    customer = crm.customers.add(Customer(name=f"{amount} {currency}"))
    crm.sales.add(Sale(customer_id=customer.id, amount=Money(amount, currency), sold_at=on))


def test_currencies_are_never_added_up(crm: CRM) -> None:
    _sell(crm, "100", "EUR", date(2018, 1, 5))
    _sell(crm, "100", "USD", date(2018, 1, 5))
    _sell(crm, "1000", "JPY", date(2018, 1, 5))
    rows = crm.metrics.compute(["revenue", "sales_count"])
    found = [(row.metric, row.currency, row.value) for row in rows]
    assert [
        ("revenue", "EUR", 100),
        ("revenue", "JPY", 1000),
        ("revenue", "USD", 100),
        ("sales_count", None, 3),
    ] == found


def test_with_a_reporting_currency_amounts_are_converted_at_the_day_of_the_sale(tmp_path: Path) -> None:
    rates = '[rates]\n"2018-01-01" = {USD = "0.8", JPY = "0.01"}\n"2018-02-01" = {USD = "0.9", JPY = "0.01"}'
    with _open(tmp_path, 'reporting_currency = "EUR"', rates) as crm:
        _sell(crm, "100", "EUR", date(2018, 1, 5))
        _sell(crm, "100", "USD", date(2018, 1, 31))
        _sell(crm, "100", "USD", date(2018, 2, 1))
        _sell(crm, "1000", "JPY", date(2018, 2, 1))
        (row,) = crm.metrics.compute("revenue")
        assert ("EUR", 280) == (row.currency, row.value)
        per_customer = crm.metrics.compute("revenue_per_customer")
        assert [(70, 4)] == [(row.value, row.denominator) for row in per_customer]


def test_a_day_that_names_one_currency_leaves_the_others_their_rates(tmp_path: Path) -> None:
    rates = '[rates]\n"2018-01-01" = {USD = "0.8", JPY = "0.01"}\n"2018-02-01" = {USD = "0.9"}'
    with _open(tmp_path, 'reporting_currency = "EUR"', rates) as crm:
        for on in (date(2018, 1, 31), date(2018, 2, 1)):
            _sell(crm, "100", "USD", on)
            _sell(crm, "1000", "JPY", on)
        months = crm.metrics.compute("revenue", series="month")
        assert [(90, None), (100, None)] == [(row.value, row.undefined) for row in months]
        assert [190] == [row.value for row in crm.metrics.compute("revenue")]
        assert Fraction("0.01") / Fraction("0.9") == crm.exchange_rate("JPY", "USD", date(2018, 2, 1))


def test_a_missing_rate_is_named_with_its_currency_and_day(tmp_path: Path) -> None:
    with _open(tmp_path, 'reporting_currency = "EUR"', '[rates]\n"2018-02-01" = {USD = "0.9"}') as crm:
        _sell(crm, "100", "USD", date(2018, 1, 31))
        (row,) = crm.metrics.compute("revenue")
        assert (None, "no exchange rate from USD to EUR on 2018-01-31") == (row.value, row.undefined)


def test_deals_of_several_pipelines_never_mix(crm: CRM) -> None:
    for pipeline, stages in (("sales", ["won", "lost", "lost", "lost"]), ("renewals", ["won"])):
        for stage in stages:
            crm.deals.add(Deal(title="Deal", pipeline=pipeline, stage=stage, closed_at=date(2018, 1, 5)))
    rows = crm.metrics.compute("win_rate")
    assert {"sales": 0.25, "renewals": 1} == {row.group["pipeline"].id: row.value for row in rows}
    (row,) = crm.metrics.compute("win_rate", where='pipeline = "sales"')
    assert ({}, 0.25) == (row.group, row.value)


def test_groups_by_owner_team_country_and_own_field(crm: CRM) -> None:
    team = crm.teams.add(Team(name="Nord"))
    ada = crm.users.add(User(name="آدا", team_id=team.id))
    customer = crm.customers.add(Customer(name="Firm", country="DE").with_fields(sector="retail"))
    closed = date(2018, 1, 5)
    crm.deals.add(Deal(title="A", customer_id=customer.id, owner_id=ada.id, stage="won", closed_at=closed))
    crm.deals.add(Deal(title="B", stage="lost", closed_at=closed))
    for dimension, key, label in (
        ("owner", format_id(ada.id), "آدا"),
        ("team", format_id(team.id), "Nord"),
        ("country", "DE", "DE"),
        ("sector", "retail", "retail"),
        ("customer", format_id(customer.id), "Firm"),
    ):
        rows = crm.metrics.compute("win_rate", by=dimension).to_json()
        assert [{dimension: {"id": key, "label": label}}, {dimension: {"id": None, "label": "(none)"}}] == [
            row["group"] for row in rows
        ]
        assert [1, 0] == [row["value"] for row in rows]
    assert 2 == len(crm.metrics.compute("win_rate", by=["owner", "country"]))


def test_an_unknown_dimension_or_metric_names_those_there_are(crm: CRM) -> None:
    with pytest.raises(UsageError, match="cannot be grouped by 'ownr'") as raised:
        crm.metrics.compute("win_rate", by="ownr")
    assert "owner" in raised.value.hint
    with pytest.raises(UsageError, match="there is no metric 'winrate'") as raised:
        crm.metrics.compute("winrate")
    assert "win_rate" in raised.value.hint


def test_an_empty_answer_says_what_would_not_be_empty(crm: CRM) -> None:
    crm.deals.add(Deal(title="Deal", stage="won", closed_at=date(2017, 12, 31)))
    results = crm.metrics.compute("win_rate", period="2018-02")
    assert ("No closed deals in 2018-02; data ends 2017-12-31; try --period 2017-Q4",) == results.notes
    assert ["no closed deals in 2018-02"] == [row.undefined for row in results]


def test_a_period_begins_and_ends_at_local_midnight(crm: CRM) -> None:
    customer = crm.customers.add(Customer(name="Firm"))
    for at in (datetime(2017, 12, 31, 22, 59, tzinfo=UTC), datetime(2017, 12, 31, 23, 0, tzinfo=UTC)):
        crm.sales.add(Sale(customer_id=customer.id, amount=Money("1", "EUR"), sold_at=at))
    (row,) = crm.metrics.compute("sales_count", period="2018-01")
    assert 1 == row.value
    period = {"name": "2018-01", "start": "2018-01-01T00:00:00+01:00", "end": "2018-02-01T00:00:00+01:00"}
    assert period == row.to_json()["period"]


def test_unknown_amounts_are_counted_apart(crm: CRM) -> None:
    customer = crm.customers.add(Customer(name="Firm"))
    for amount in (None, None, Money("5", "EUR")):
        crm.sales.add(Sale(customer_id=customer.id, amount=amount, sold_at=date(2018, 1, 1)))
    (row,) = crm.metrics.compute("average_order_value")
    assert (5, 1, {"sales without an amount": 2}) == (row.value, row.denominator, row.excluded)


def test_a_sum_of_0_is_a_value_beside_unknown_amounts(crm: CRM) -> None:
    customer = crm.customers.add(Customer(name="Firm"))
    for amount in (None, Money("0", "EUR")):
        crm.sales.add(Sale(customer_id=customer.id, amount=amount, sold_at=date(2018, 1, 1)))
    (row,) = crm.metrics.compute("revenue")
    assert (0, None, {"sales without an amount": 1}) == (row.value, row.undefined, row.excluded)


def test_before_and_after_a_day(crm: CRM) -> None:
    for amount, on in (("100", date(2017, 11, 5)), ("150", date(2018, 1, 5))):
        _sell(crm, amount, "EUR", on)
    (row,) = crm.metrics.compute("revenue", around="2018-01-01", months=2)
    found = row.to_json()
    assert (100, 150, 50, 50) == tuple(found[name] for name in ("before", "after", "delta", "delta_percent"))
    (row,) = crm.metrics.compute("revenue", around=date(2017, 9, 1), months=3)
    found = row.to_json()
    assert (0, 100, None) == (found["before"], found["after"], found["delta_percent"])
    assert "before is 0, so there is no percentage" == found["undefined"]
    assert "data starts 2017-11-05" in found["incomplete"]


def test_as_of_moves_now_and_hides_what_came_later(crm: CRM) -> None:
    for on in (date(2017, 11, 5), date(2017, 11, 30), date(2017, 12, 1)):
        _sell(crm, "100", "EUR", on)
    assert 200 == crm.metrics.compute("revenue", as_of=date(2017, 11, 30))[0].value
    assert 200 == crm.metrics.compute("revenue", period="this month", as_of=date(2017, 11, 30))[0].value
    assert 300 == crm.metrics.compute("revenue")[0].value


def test_a_series_has_a_row_for_every_month_also_an_empty_one(crm: CRM) -> None:
    for on in (date(2017, 11, 5), date(2018, 1, 5)):
        _sell(crm, "100", "USD", on)
    rows = crm.metrics.compute("revenue", series="month")
    expected = [("2017-11", "USD", 100), ("2017-12", "USD", 0), ("2018-01", "USD", 100)]
    assert expected == [(row.period.name, row.currency, row.value) for row in rows if row.period]


def test_json_has_the_documented_keys_and_plain_numbers(crm: CRM) -> None:
    _sell(crm, "12.50", "EUR", date(2018, 1, 5))
    (row,) = crm.metrics.compute("revenue").to_json()
    documented = ["metric", "period", "group", "value", "numerator", "denominator", "currency", "unit", "undefined"]
    assert documented == list(row)[:9]
    assert ("revenue", None, {}, 12.5, "EUR", "money", None) == tuple(
        row[name] for name in ("metric", "period", "group", "value", "currency", "unit", "undefined")
    )


def test_an_explanation_names_formula_plugin_sql_and_rows(crm: CRM) -> None:
    _sell(crm, "12.50", "EUR", date(2018, 1, 5))
    found = crm.metrics.explain("revenue", period="2018-01")
    (sale,) = crm.sales.find()
    assert ("crm-kpi", "sale", 1, (sale.id,)) == (found.distribution, found.row_type, found.rows, found.row_ids)
    assert any("sum(" in statement for statement in found.statements)
    assert {"exchange_date": "sale"} == found.policy


def test_a_filter_narrows_the_rows_a_metric_is_made_of(crm: CRM) -> None:
    for source in ("web", "fair"):
        crm.deals.add(Deal(title="Deal", stage="won", source=source, closed_at=date(2018, 1, 5)))
    assert 1 == crm.metrics.compute("win_rate", where='source = "web"')[0].denominator
    with pytest.raises(UsageError, match="win_rate is made of deals"):
        crm.metrics.compute("win_rate", where='colour = "red"')


def test_metrics_of_one_base_time_and_where_are_one_scan(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    _sell(crm, "100", "EUR", date(2018, 1, 5))
    statements: list[str] = []
    run = crm.run

    def counted(select: Any) -> list[tuple[Any, ...]]:
        statements.append(str(select))
        return run(select)

    monkeypatch.setattr(crm, "run", counted)
    names = ["revenue", "sales_count", "average_order_value", "refund_rate"]
    assert [100, 1, 100, 0] == [row.value for row in crm.metrics.compute(names)]
    (scan,) = [statement for statement in statements if "sum(" in statement]
    assert 2 == scan.count("amount IS NULL"), "unknown sales and unknown refunds are each counted once"


def test_as_of_a_moment_nothing_later_is_known_in_a_named_period_either(crm: CRM) -> None:
    lead = crm.customers.add(Customer(name="Lead", first_contact_at=date(2018, 1, 2)))
    amount = Money("100", "EUR")
    crm.deals.add(
        Deal(
            title="Won in March",
            customer_id=lead.id,
            pipeline="sales",
            stage="won",
            amount=amount,
            opened_at=date(2018, 1, 3),
            closed_at=date(2018, 3, 1),
        )
    )
    names = ["revenue", "new_customers", "close_rate", "lead_conversion", "lead_conversion_period"]
    found = [row.value for row in crm.metrics.compute(names, period="2018", as_of=date(2018, 2, 1))]
    assert [0, 0, 0, 0, 0] == found
    assert [100, 1, 1, 1, 1] == [row.value for row in crm.metrics.compute(names, period="2018")]


def test_a_series_over_all_time_has_whole_units(crm: CRM) -> None:
    _sell(crm, "100", "EUR", date(2018, 1, 5))
    _sell(crm, "50", "EUR", date(2018, 2, 5))
    rows = crm.metrics.compute("revenue", series="month").to_json()
    months = [(row["period"]["start"][:10], row["period"]["end"][:10], row["value"]) for row in rows]
    assert [("2018-01-01", "2018-02-01", 100), ("2018-02-01", "2018-03-01", 50)] == months


def test_a_series_as_of_a_moment_before_all_data_is_a_row_without_a_value(crm: CRM) -> None:
    _sell(crm, "100", "EUR", date(2018, 1, 5))
    (row,) = crm.metrics.compute("average_order_value", series="month", as_of=date(2016, 5, 9))
    assert ("no sales in 2016-05", "2016-05 is not over on 2016-05-09") == (row.undefined, row.incomplete)


def test_a_series_of_conversions_reaches_to_the_last_conversion(crm: CRM) -> None:
    lead = crm.customers.add(Customer(name="Lead", first_contact_at=date(2018, 1, 2)))
    crm.sales.add(Sale(customer_id=lead.id, amount=Money("100", "EUR"), sold_at=date(2018, 3, 1)))
    rows = crm.metrics.compute("lead_conversion_period", series="month")
    assert [("2018-01", 0, 1), ("2018-02", 0, 0), ("2018-03", 1, 0)] == [
        (row.period.name, row.numerator, row.denominator) for row in rows
    ]


def test_a_missing_rate_leaves_the_sales_velocity_undefined(tmp_path: Path) -> None:
    with _open(tmp_path, 'reporting_currency = "EUR"') as crm:
        for currency in ("EUR", "USD"):
            days = {"opened_at": date(2018, 1, 1), "closed_at": date(2018, 1, 11)}
            crm.deals.add(Deal(title="Won", pipeline="sales", stage="won", amount=Money("10", currency), **days))
        (row,) = crm.metrics.compute("sales_velocity")
        assert (None, "no exchange rate from USD to EUR on 2018-03-15") == (row.value, row.undefined)


def test_nothing_sold_is_zero_inside_the_data_and_unknown_beyond_it(crm: CRM) -> None:
    (row,) = crm.metrics.compute("revenue")
    assert (None, "no sales in all time") == (row.value, row.undefined)
    for on in (date(2017, 11, 5), date(2018, 1, 5)):
        _sell(crm, "100", "EUR", on)
    months = crm.metrics.compute("revenue", period="2017-10..2018-02", series="month")
    assert [None, 100, 0, 100, None] == [row.value for row in months]
    assert "no sales in 2018-02" == months[4].undefined
    (count,) = crm.metrics.compute("sales_count", period="2018-02")
    assert (0, None) == (count.value, count.undefined)
