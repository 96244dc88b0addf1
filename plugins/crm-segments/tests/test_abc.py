from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Money, Relation, Sale
from crm_core.errors import InvalidValue, UsageError
from crm_core.values import FixedClock, format_id
from crm_segments.abc import classes

EXAMPLE = [27, 24, 18, 16, 6, 5, 4]
CUTS = {"cuts": "0.70,0.90"}


@pytest.fixture
def crm() -> Iterator[CRM]:
    with CRM.open("memory:", clock=FixedClock(datetime(2026, 6, 1, tzinfo=UTC))) as opened:
        yield opened


def _sell(crm: CRM, amounts: list[int], currency: str = "EUR", **fields: Any) -> list[Customer]:
    customers = []
    for n, amount in enumerate(amounts):
        customer = crm.customers.add(Customer(name=f"Customer {n}"))
        money = Money(abs(amount), currency)
        sale = Sale(customer_id=customer.id, amount=money, sold_at=date(2026, 1, 5), **fields)
        crm.sales.add(sale if amount >= 0 else sale.evolve(kind="refund"))
        customers.append(customer)
    return customers


def _values(crm: CRM, **params: Any) -> dict[str, Any]:
    return {row.label: row.value for row in crm.segments.run("abc", **params).summary}


def test_the_published_example_inclusive(crm: CRM) -> None:
    _sell(crm, EXAMPLE)
    assert {"A": 69, "B": 16, "C": 15} == _values(crm, **CUTS)


def test_the_published_example_crossing(crm: CRM) -> None:
    _sell(crm, EXAMPLE)
    assert {"A": 85, "B": 6, "C": 9} == _values(crm, **CUTS, rule="crossing")


def test_a_share_exactly_on_the_cut_stays_above_inclusive_and_ends_the_class_crossing() -> None:
    cuts = (Fraction(7, 10), Fraction(9, 10))
    assert "ABC" == classes([70, 20, 10], cuts, "inclusive")
    assert "ABC" == classes([70, 20, 10], cuts, "crossing")


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("rule", ["inclusive", "crossing"])
def test_classes_agree_with_the_definition(seed: int, rule: str) -> None:
    rng = random.Random(seed)
    values = sorted((rng.randrange(-20, 100) for _ in range(rng.randrange(30))), reverse=True)
    cuts = (Fraction(rng.randrange(1, 50), 100), Fraction(rng.randrange(50, 101), 100))
    total, before, expected = sum(value for value in values if value > 0), 0, ""
    for value in values:
        share = Fraction(before + (value if rule == "inclusive" else 0), total) if total else Fraction(0)
        above = [share <= cut if rule == "inclusive" else share < cut for cut in cuts]
        expected += "C" if value <= 0 else "A" if above[0] else "B" if above[1] else "C"
        before += max(value, 0)
    assert expected == classes(values, cuts, rule)


def test_equal_values_are_ordered_by_id(crm: CRM) -> None:
    customers = _sell(crm, [10, 10, 10, 10])
    members = crm.segments.run("abc", cuts="0.5,0.75").members
    assert [(one.id, label) for one, label in zip(customers, "AABC", strict=True)] == [(m.id, m.label) for m in members]


def test_what_is_not_positive_is_c_and_counted_apart(crm: CRM) -> None:
    _sell(crm, [80, 20, -5])
    result = crm.segments.run("abc")
    assert ["A", "C", "C"] == [member.label for member in result.members]
    assert ("1 customers of class C have no positive revenue",) == result.notes


def test_count_and_margin_divide_too(crm: CRM) -> None:
    _sell(crm, [10, 90], margin=Money(5, "EUR"))
    assert [1, 1] == [member.score for member in crm.segments.run("abc", value="count").members]
    assert [5, 5] == [member.score for member in crm.segments.run("abc", value="margin").members]


def test_several_currencies_ask_for_one(crm: CRM) -> None:
    _sell(crm, [10, 20])
    _sell(crm, [30], "USD")
    with pytest.raises(UsageError, match=r"several currencies \(EUR, USD\)"):
        crm.segments.run("abc")
    assert 30 == sum(row.value or 0 for row in crm.segments.run("abc", currency="EUR").summary)
    with pytest.raises(UsageError, match="no sale is in GBP"):
        crm.segments.run("abc", currency="GBP")


def test_a_reporting_currency_converts_them(tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_text(
        '[crm]\ncurrency = "EUR"\nreporting_currency = "EUR"\n[storage]\nurl = "memory:"\n'
        '[rates]\n"2026-01-01" = {USD = "0.5"}\n',
        encoding="utf-8",
    )
    with CRM.open(tmp_path) as crm:
        _sell(crm, [10])
        _sell(crm, [30], "USD")
        result = crm.segments.run("abc")
        assert [(15, "EUR"), (10, "EUR")] == [(member.score, result.params["currency"]) for member in result.members]


def test_people_count_as_the_organisation_they_work_for(crm: CRM) -> None:
    firm, person = _sell(crm, [10, 20])
    crm.relations.add(Relation(customer_id=person.id, other_id=firm.id, kind="works for"))
    assert [(firm.id, 30)] == [(member.id, member.score) for member in crm.segments.run("abc").members]


def test_json_has_the_documented_shape(crm: CRM) -> None:
    (customer,) = _sell(crm, [10])
    found = crm.segments.run("abc", cuts="0.70,1", period="2026-01").to_json()
    assert "abc" == found["segment"]
    assert {
        "value": "revenue",
        "cuts": [0.7, 1.0],
        "rule": "inclusive",
        "currency": "EUR",
        "period": "2026-01",
    } == found["params"]
    assert {"label": "B", "customers": 1, "value": 10, "currency": "EUR"} == found["summary"][1]
    assert [{"id": format_id(customer.id), "name": "Customer 0", "label": "B", "score": 10}] == found["members"]


@pytest.mark.parametrize("cuts", ["0.9,0.7", "0,0.5", "80,95", "a,b", "0.8", "0.8,0.9,0.95"])
def test_bad_cuts_are_refused_with_an_example(crm: CRM, cuts: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        crm.segments.run("abc", cuts=cuts)
    assert "write them as 0.80,0.95" == raised.value.hint


def test_an_unknown_parameter_or_rule_is_refused(crm: CRM) -> None:
    with pytest.raises(UsageError, match="abc has no parameter 'ruel'"):
        crm.segments.run("abc", ruel="crossing")
    with pytest.raises(InvalidValue, match="is not one of: inclusive, crossing"):
        crm.segments.run("abc", rule="both")


def test_money_is_written_with_the_decimals_of_its_currency(crm: CRM) -> None:
    _sell(crm, [1200])
    assert ["C", "1", "1,200.00 EUR"] == crm.segments.run("abc").table()[1][2]
    _sell(crm, [1200], "JPY")
    assert ["C", "1", "1,200 JPY"] == crm.segments.run("abc", currency="JPY").table()[1][2]


def test_as_of_a_moment_later_sales_do_not_count_in_a_named_period_either(crm: CRM) -> None:
    _sell(crm, [10])
    assert () == crm.segments.run("abc", period="2026", as_of=date(2026, 1, 1)).members


def test_who_bought_for_unknown_amounts_is_c_with_and_without_conversion(tmp_path: Path) -> None:
    settings = '[crm]\ncurrency = "EUR"\nreporting_currency = "EUR"\n[storage]\nurl = "memory:"\n'
    (tmp_path / "crm.toml").write_text(settings + '[rates]\n"2020-01-01" = {USD = "0.5"}\n', encoding="utf-8")
    with CRM.open(tmp_path) as crm:
        unknown = crm.customers.add(Customer(name="Unknown"))
        crm.sales.add(Sale(customer_id=unknown.id, sold_at=date(2026, 1, 5)))
        _sell(crm, [10])
        assert 0 == crm.segments.run("abc").members[-1].score
        _sell(crm, [10], "USD")
        assert (unknown.id, "C", 0) == tuple(
            getattr(crm.segments.run("abc").members[-1], n) for n in ("id", "label", "score")
        )


@pytest.mark.parametrize("segment", ["abc", "rfm"])
def test_a_period_without_sales_says_which_period_has_some(crm: CRM, segment: str) -> None:
    assert any("`crm sales list`" in note for note in crm.segments.run(segment, period="2030").notes)
    _sell(crm, [5])
    for period in ("2019", "2030"):
        (note,) = crm.segments.run(segment, period=period).notes
        assert "data goes from 2026-01-05 to 2026-01-05; try --period 2026-Q1" in note
