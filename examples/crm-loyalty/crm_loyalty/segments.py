"""Customers by tier."""

from __future__ import annotations

from sqlalchemy import select

from crm_core.extend import Assignment, Division, Segment, SegmentQuery
from crm_loyalty.records import TIERS


def _by_tier(q: SegmentQuery) -> Division:
    customers = q.tables.customers
    columns = [customers.c.id, customers.c.loyalty__tier, customers.c.loyalty__points]
    rows = q.run(
        select(*columns)
        .where(customers.c.loyalty__tier.is_not(None))
        .order_by(customers.c.loyalty__points.desc(), customers.c.id)
    )
    return Division(assignments=tuple(Assignment(*row) for row in rows), unit="count")


TIERS_SEGMENT = Segment(
    name="loyalty_tiers",
    label="Loyalty tiers",
    help="Customers by the tier of their balance of points.",
    labels=tuple(name for name, _ in TIERS),
    assign=_by_tier,
)
