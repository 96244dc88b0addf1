"""Two numbers: the points that are out, and the part of those given that was spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import case

from crm_core.extend import Measure, Metric, MetricQuery
from crm_core.query.functions import isum

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from crm_core.query.tables import Tables


def _outstanding(q: MetricQuery) -> Iterator[Measure]:
    entries = q.tables.loyalty_entries
    for bucket, bounds in enumerate(q.buckets):
        for cell in q.cells([isum(entries.c.points)], where=[entries.c.at < q.instant(bounds)]):
            yield Measure(group=cell.group, bucket=bucket, numerator=cell.values[0])


def _at(t: Tables) -> ColumnElement[Any]:
    return t.loyalty_entries.c.at


def _earned(t: Tables) -> ColumnElement[Any]:
    return isum(case((t.loyalty_entries.c.kind == "earned", t.loyalty_entries.c.points), else_=0))


def _redeemed(t: Tables) -> ColumnElement[Any]:
    return isum(case((t.loyalty_entries.c.kind == "redeemed", -t.loyalty_entries.c.points), else_=0))


METRICS: Final = (
    Metric(
        name="points_outstanding",
        label="Points outstanding",
        unit="count",
        kind="stock",
        formula="points given minus points spent and taken back",
        population="all loyalty entries up to the end of the period",
        subject="loyalty entries",
        example="100 in January, 150 in March, 120 spent: 130",
        direction="none",
        base="loyalty_entry",
        compute=_outstanding,
    ),
    Metric(
        name="redemption_rate",
        label="Redemption rate",
        unit="ratio",
        kind="ratio",
        formula="points spent in the period / points given in the period",
        population="loyalty entries of the period",
        subject="loyalty entries",
        traps="points taken back count on neither side",
        example="120 of 250: 48%",
        base="loyalty_entry",
        time=_at,
        numerator=_redeemed,
        denominator=_earned,
    ),
)
