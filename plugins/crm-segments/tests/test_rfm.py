from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Money, Relation, Sale, Write
from crm_core.errors import InvalidValue, UsageError
from crm_core.values import FixedClock
from crm_segments.rfm import NAMES, Buyer, codes, name_of, scores

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory:", "sqlite"])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        request.node.user_properties.append(("database", "sqlite"))
    url = "memory:" if request.param == "memory:" else f"sqlite:///{tmp_path / 'crm.db'}"
    with CRM.open(url, clock=FixedClock(NOW)) as opened:
        yield opened


def _buy(crm: CRM, name: str, *sales: tuple[int, str], kind: str = "sale", currency: str = "EUR") -> Customer:
    """Add a customer who bought: (days ago, amount)."""
    customer = crm.customers.add(Customer(name=name))
    for days, amount in sales:
        day = NOW.date() - timedelta(days=days)
        crm.sales.add(Sale(customer_id=customer.id, kind=kind, amount=Money(amount, currency), sold_at=day))
    return customer


def _found(crm: CRM, **params: Any) -> dict[str, tuple[str, Any]]:
    return {member.name: (member.label, member.score) for member in crm.segments.run("rfm", **params).members}


def test_five_customers_have_five_scores(crm: CRM) -> None:
    for n in range(1, 6):
        _buy(crm, f"C{n}", *[(100 * (6 - n), "10")] * n)
    assert {f"C{n}": (f"{n}{n}{n}", 10 * n) for n in range(1, 6)} == _found(crm)
    assert ["555", "444", "333", "222", "111"] == [row.label for row in crm.segments.run("rfm").summary]
    assert {f"C{n}": f"{n}" for n in range(1, 6)} == {
        name: label[0] for name, (label, _) in _found(crm, method="ntile", scores="nested").items()
    }


def test_equal_values_score_alike_or_are_parted_by_id() -> None:
    assert [1, 1, 1, 1, 1] == scores([7] * 5, 5)
    assert [1, 2, 3, 4, 5] == scores([7] * 5, 5, "ntile")
    assert [1, 1, 2, 2, 3, 4, 5] == scores([7] * 7, 5, "ntile")
    assert [1, 2] == scores([1, 2], 5, "ntile")
    assert [] == scores([], 5)


@pytest.mark.parametrize("seed", range(30))
def test_a_quantile_score_is_what_the_definition_says(seed: int) -> None:
    rng = random.Random(seed)
    bins = rng.randrange(2, 10)
    values = [rng.randrange(20) for _ in range(rng.randrange(1, 40))]
    thresholds = [
        min(v for v in values if sum(1 for w in values if w <= v) * bins >= k * len(values)) for k in range(1, bins)
    ]
    assert [1 + sum(1 for t in thresholds if t < value) for value in values] == scores(values, bins)


def test_nested_scores_are_among_those_of_one_score_before() -> None:
    buyers = [Buyer(at, days=10 if at < 4 else 500, count=at % 4, amount=at) for at in range(8)]
    assert [2, 2, 2, 2, 1, 1, 1, 1] == [r for r, _, _ in codes(buyers, 2, "quantile", nested=True)]
    assert [1, 1, 2, 2, 1, 1, 2, 2] == [f for _, f, _ in codes(buyers, 2, "quantile", nested=True)]
    assert [1, 2, 1, 2, 1, 2, 1, 2] == [m for _, _, m in codes(buyers, 2, "quantile", nested=True)]


def test_refunds_lower_the_money_and_are_no_purchase(crm: CRM) -> None:
    ada = _buy(crm, "Ada", (10, "100"))
    crm.sales.add(Sale(customer_id=ada.id, kind="refund", amount=Money("30", "EUR"), sold_at=date(2026, 5, 30)))
    _buy(crm, "Bob", (9, "40"), kind="refund")
    crm.sales.write_many([Write(record=Sale(customer_id=ada.id, amount=Money("5", "EUR")))])
    result = crm.segments.run("rfm", bins=2)
    assert [("Ada", 70)] == [(member.name, member.score) for member in result.members]
    assert (
        "1 sales and refunds without a date are left out",
        "1 customers with refunds and no sale have no score",
    ) == result.notes


def test_as_of_leaves_out_what_came_later(crm: CRM) -> None:
    _buy(crm, "Ada", (100, "10"), (1, "90"))
    _buy(crm, "Bob", (50, "20"))
    day = (NOW - timedelta(days=60)).date()
    assert {"Ada": ("111", 10)} == {
        m.name: (m.label, m.score) for m in crm.segments.run("rfm", as_of=day, bins=2).members
    }


def test_names_cover_the_grid_and_lead_the_summary(crm: CRM) -> None:
    assert set(NAMES) == {name_of(r, f) for r in range(1, 6) for f in range(1, 6)}
    for n in range(1, 6):
        _buy(crm, f"C{n}", *[(100 * (6 - n), "10")] * n)
    assert {"C5": "champions", "C4": "loyal", "C3": "need attention", "C2": "hibernating", "C1": "hibernating"} == {
        name: label for name, (label, _) in _found(crm, label="name").items()
    }
    summary = crm.segments.run("rfm", label="name").summary
    assert ["champions", "loyal", "need attention", "hibernating"] == [row.label for row in summary]


def test_people_count_as_the_organisation_they_work_for(crm: CRM) -> None:
    firm, person = _buy(crm, "Firm", (5, "10")), _buy(crm, "Ann", (3, "20"))
    crm.relations.add(Relation(customer_id=person.id, other_id=firm.id, kind="works for"))
    assert {"Firm": 30} == {name: score for name, (_, score) in _found(crm).items()}


def test_what_cannot_be_is_refused(crm: CRM) -> None:
    _buy(crm, "Ada", (5, "10"))
    _buy(crm, "Bob", (5, "10"), currency="USD")
    with pytest.raises(UsageError, match="several currencies"):
        crm.segments.run("rfm")
    assert 10 == _found(crm, currency="USD")["Bob"][1]
    with pytest.raises(InvalidValue, match="not a number from 2 to 9"):
        crm.segments.run("rfm", bins="10")
    with pytest.raises(UsageError, match="names are those of 5 bins"):
        crm.segments.run("rfm", bins=4, label="name", currency="EUR")
    with pytest.raises(InvalidValue, match="is not one of: quantile, ntile"):
        crm.segments.run("rfm", method="best")


def test_engines_agree_with_plain_python(tmp_path: Path) -> None:
    rng = random.Random(7)
    plan = [
        [(rng.randrange(0, 900), str(rng.randrange(1, 500))) for _ in range(rng.randrange(1, 9))] for _ in range(120)
    ]
    answers = []
    for url in ("memory:", f"sqlite:///{tmp_path / 'crm.db'}"):
        with CRM.open(url, clock=FixedClock(NOW)) as crm:
            for at, sales in enumerate(plan):
                _buy(crm, f"C{at:03}", *sales)
            answers.append(_found(crm))
    days = scores([-min(d for d, _ in sales) for sales in plan], 5)
    often = scores([len(sales) for sales in plan], 5)
    money = scores([sum(int(a) for _, a in sales) for sales in plan], 5)
    expected = {
        f"C{at:03}": (f"{days[at]}{often[at]}{money[at]}", sum(int(a) for _, a in sales))
        for at, sales in enumerate(plan)
    }
    assert [expected, expected] == answers
