"""The days that a lead may take to convert: calendar days where both ends are days, else 24 hours each."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, Money, Relation, Sale
from crm_core.values import FixedClock

NOW = datetime(2027, 1, 1, tzinfo=UTC)
SETTINGS = """
[crm]
currency = "EUR"
zone = "Europe/Berlin"
[storage]
url = "{url}"
[policies]
conversion_days = 30
"""
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize("url", ["memory:", pytest.param("sqlite:///crm.db", marks=pytest.mark.database("sqlite"))])
@pytest.mark.parametrize("works_for", [False, True])
@pytest.mark.parametrize("way", ["sale", "deal"])
@pytest.mark.parametrize(
    ("first", "bought", "converts"),
    [
        (date(2026, 3, 10), date(2026, 4, 9), 1),
        (date(2026, 6, 10), date(2026, 7, 10), 1),
        (date(2026, 10, 1), date(2026, 10, 31), 1),
        (date(2026, 3, 10), date(2026, 4, 10), 0),
        (date(2026, 6, 10), date(2026, 7, 11), 0),
        (date(2026, 10, 1), date(2026, 11, 1), 0),
        (NOON, NOON + timedelta(days=30), 1),
        (NOON, NOON + timedelta(days=30) + MOMENT, 0),
        (NOON, date(2026, 7, 10), 1),
        (NOON, date(2026, 7, 11), 0),
        (date(2026, 6, 10), NOON + timedelta(days=30), 0),
    ],
)
def test_a_lead_converts_within_30_days(
    tmp_path: Path, url: str, works_for: bool, way: str, first: Any, bought: Any, converts: int
) -> None:
    if url != "memory:":
        pytest.importorskip("crm_storage_sql", reason="NOT RUN: crm-storage-sql is not installed")
    (tmp_path / "crm.toml").write_text(SETTINGS.format(url=url), encoding="utf-8")
    with CRM.open(tmp_path, clock=FixedClock(NOW)) as crm:
        lead = crm.customers.add(Customer(name="Նարե", first_contact_at=first))
        buyer = crm.customers.add(Customer(name="آدا")) if works_for else lead
        if works_for:
            crm.relations.add(Relation(customer_id=buyer.id, other_id=lead.id, kind="works for"))
        if way == "sale":
            crm.sales.add(Sale(customer_id=buyer.id, amount=Money("1", "EUR"), sold_at=bought))
        else:
            crm.deals.add(Deal(title="Deal", customer_id=buyer.id, stage="won", closed_at=bought))
        (row,) = crm.metrics.compute("lead_conversion")
        assert (converts, 1, 30) == (row.numerator, row.denominator, row.policy["conversion_days"])
        (row,) = crm.metrics.compute("lead_conversion", as_of=date(2026, 4, 8))
        assert 0 == row.numerator, "what comes later is not known yet"
