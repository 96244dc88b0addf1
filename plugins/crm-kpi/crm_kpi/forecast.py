"""What lies in the pipeline: its worth at an instant, weighed by probability, and how fast it turns into money."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import attrs
from sqlalchemy import and_, case, exists, func, or_, select

from crm_core.errors import UsageError
from crm_core.extend import Cell, Measure, Metric, MetricQuery
from crm_core.query.functions import count_if, isum
from crm_kpi.deals import closed, closed_at, currency, lasting, won

_WITHOUT_AMOUNT: Final = "open deals without an amount"
_CHANGED: Final = "deals that were closed or changed since, and count with the amount of now"
_NO_CURRENCY: Final = "open deals without an amount, which belong to no currency"
_UNWEIGHED: Final = "open deals whose stage is unknown or has no probability"


def _open_at(q: MetricQuery, at: int) -> list[Any]:
    """Return the conditions of deals that were open at the end of a bucket."""
    deals, bucket = q.tables.deals, q.buckets[at]
    if q.is_present(bucket):
        return [deals.c.status == "open"]
    instant = q.instant(bucket)
    return [
        or_(deals.c.opened_at.is_(None), deals.c.opened_at < instant),
        or_(deals.c.status == "open", deals.c.closed_at >= instant),
    ]


def _changed_since(q: MetricQuery, at: int) -> Any:
    deals, changes = q.tables.deals, q.tables.deal_changes
    instant = q.instant(q.buckets[at])
    change = select(changes.c.id).where(
        changes.c.deal_id == deals.c.id, changes.c.field == "amount", changes.c.at >= instant
    )
    return count_if(or_(deals.c.status != "open", exists(change.correlate(deals))))


def _pipeline_value(q: MetricQuery) -> Iterator[Measure]:
    deals = q.tables.deals
    for at, bucket in enumerate(q.buckets):
        past = [] if q.is_present(bucket) else [_changed_since(q, at)]
        columns = [isum(deals.c.amount), count_if(deals.c.amount.is_(None)), *past]
        for cell in q.cells(columns, where=_open_at(q, at), currency=currency(q.tables)):
            amount, unknown, *changed = cell.values
            excluded, flagged = {_WITHOUT_AMOUNT: unknown}, {_CHANGED: sum(changed)}
            yield _at(cell, at, numerator=amount, excluded=excluded, flagged=flagged)


def _weighted_forecast(q: MetricQuery) -> Iterator[Measure]:
    deals = q.tables.deals
    chances = {
        (pipeline.name, stage.name): Fraction(stage.probability)
        for pipeline in q.crm.pipelines.values()
        for stage in pipeline.stages
    }
    for at, bucket in enumerate(q.buckets):
        stage = deals.c.stage if q.is_present(bucket) else _stage_at(q, at)
        columns = [isum(deals.c.amount), count_if(deals.c.amount.is_(None)), func.count()]
        for cell in q.cells(columns, where=_open_at(q, at), currency=currency(q.tables), also=[stage]):
            amount, unknown, number = cell.values
            chance = chances.get((_pipeline(q, cell), cell.also[0]))
            excluded = {_WITHOUT_AMOUNT: unknown}
            if chance is None:
                excluded[_UNWEIGHED] = number - unknown
            yield _at(cell, at, numerator=amount * (chance or Fraction(0)), excluded=excluded)


def _pipeline(q: MetricQuery, cell: Cell) -> str | None:
    """Return the pipeline of a cell; where the question does not tell them apart, there is only one."""
    if "pipeline" in q.by:
        found: str | None = cell.group[q.by.index("pipeline")]
        return found
    only: str | None = q.once("only pipeline", lambda: q.run(select(func.min(q.tables.deals.c.pipeline)))[0][0])
    return only


def _stage_at(q: MetricQuery, at: int) -> Any:
    """Return the stage a deal was in at the end of a bucket."""
    deals, changes = q.tables.deals, q.tables.stage_changes
    latest = (
        select(changes.c.to_stage)
        .where(changes.c.deal_id == deals.c.id, changes.c.at < q.instant(q.buckets[at]))
        .order_by(changes.c.at.desc(), changes.c.id.desc())
        .limit(1)
        .correlate(deals)
    )
    return func.coalesce(latest.scalar_subquery(), case((deals.c.status == "open", deals.c.stage)))


def _at(cell: Cell, bucket: int, **parts: Any) -> Measure:
    return Measure(group=cell.group, bucket=bucket, currency=cell.currency, **parts)


@attrs.define
class _Parts:
    """What the velocity of some deals is made of: numbers of deals, and sums of amounts and of cycles."""

    open: Fraction = Fraction(0)
    closed: Fraction = Fraction(0)
    won: Fraction = Fraction(0)
    priced: Fraction = Fraction(0)
    amount: Fraction = Fraction(0)
    cycles: Fraction = Fraction(0)
    cycle: Fraction = Fraction(0)
    missing: str = ""

    def add(self, other: _Parts) -> None:
        self.open += other.open
        self.closed += other.closed
        self.won += other.won
        self.priced += other.priced
        self.amount += other.amount
        self.cycles += other.cycles
        self.cycle += other.cycle
        self.missing = self.missing or other.missing

    def among(self, everything: _Parts) -> _Parts:
        """Return these open deals and this average amount, with the win rate and the sales cycle of all deals."""
        shared = ("closed", "won", "cycles", "cycle")
        return attrs.evolve(self, **{name: getattr(everything, name) for name in shared})

    def undefined(self) -> str:
        if self.missing:
            return self.missing
        if not self.closed:
            return "no closed deals"
        if not self.priced:
            return "no won deal has an amount" if self.won else "no won deals"
        if not self.cycles:
            return "no won deal has both dates"
        return "" if self.cycle else "the sales cycle is 0 days"


def _sales_velocity(q: MetricQuery) -> Iterator[Measure]:
    found = _velocity_parts(q)
    for (group, bucket), by_currency in found.items():
        everything = _Parts()
        for parts in by_currency.values():
            everything.add(parts)
        known = {code: parts for code, parts in by_currency.items() if code is not None}
        if len(known) <= 1:
            yield _velocity(group, bucket, next(iter(known), None), everything)
            continue
        for code, parts in known.items():
            yield _velocity(group, bucket, code, parts.among(everything))
        unknown = by_currency.get(None, _Parts())
        yield Measure(group=group, bucket=bucket, excluded={_NO_CURRENCY: int(unknown.open)})


def _rate(q: MetricQuery, cell: Cell) -> tuple[Fraction, str]:
    """Return what the cell's currency is worth in the reporting currency, and why that is not known."""
    if cell.currency is None or q.reporting_currency is None:
        return Fraction(1), ""
    try:
        return q.rate(cell.currency, cell.interval), ""
    except UsageError as error:
        return Fraction(0), error.message


def _velocity(group: tuple[Any, ...], bucket: int, code: str | None, parts: _Parts) -> Measure:
    reason = parts.undefined()
    if reason:
        return Measure(group=group, bucket=bucket, currency=code, undefined=reason)
    return Measure(
        group=group,
        bucket=bucket,
        currency=code,
        numerator=parts.open * parts.won / parts.closed * parts.amount / parts.priced,
        denominator=parts.cycle / parts.cycles,
    )


def _velocity_parts(q: MetricQuery) -> dict[tuple[tuple[Any, ...], int], dict[str | None, _Parts]]:
    t = q.tables
    deals = t.deals.c
    has_cycle = and_(won(t), deals.opened_at <= deals.closed_at)
    cycle = lasting(deals.opened_at, deals.opened_at_is_date, deals.closed_at, deals.closed_at_is_date)
    priced = and_(won(t), deals.amount.is_not(None))
    columns = [func.count(), count_if(won(t)), count_if(priced), isum(case((priced, deals.amount)))]
    columns += [count_if(has_cycle), isum(case((has_cycle, cycle)), bounded=True)]
    found: dict[tuple[tuple[Any, ...], int], dict[str | None, _Parts]] = {}

    def parts_of(cell: Cell, bucket: int) -> _Parts:
        code = q.reporting_currency if cell.currency else None
        by_currency = found.setdefault((cell.group, bucket), {})
        return by_currency.setdefault(code or cell.currency, _Parts())

    for cell in q.cells(columns, where=[closed(t)], time=closed_at(t), currency=currency(t)):
        number, wins, with_amount, amount, cycles, total = cell.values
        rate, missing = _rate(q, cell) if amount else (Fraction(1), "")
        parts_of(cell, cell.bucket).add(
            _Parts(
                closed=Fraction(number),
                won=Fraction(wins),
                priced=Fraction(with_amount),
                amount=amount * rate,
                cycles=Fraction(cycles),
                cycle=Fraction(total),
                missing=missing,
            )
        )
    for at in range(len(q.buckets)):
        for cell in q.cells([func.count()], where=_open_at(q, at), currency=currency(t)):
            parts_of(cell, at).open += cell.values[0]
    return found


METRICS: Final = (
    Metric(
        name="pipeline_value",
        label="Pipeline value",
        unit="money",
        kind="stock",
        direction="up",
        formula="sum of the amounts of open deals",
        population="deals open at the end of the period, or now, per pipeline",
        traps="a stock, at an instant; open deals without an amount are counted apart",
        example="open deals of 100.00, 200.00 and an unknown amount: 300.00",
        subject="open deals",
        base="deal",
        where=lambda t: t.deals.c.status == "open",
        per_pipeline=True,
        policies=("exchange_date",),
        compute=_pipeline_value,
    ),
    Metric(
        name="weighted_forecast",
        label="Weighted forecast",
        unit="money",
        kind="stock",
        formula="sum of (amount x probability of the stage) of open deals",
        population="deals open at the end of the period, or now, per pipeline",
        traps="the probabilities are the pipeline's, not measured; open deals without an amount are counted apart",
        example="100.00 at 25% and 200.00 at 50%: 125.00",
        subject="open deals",
        base="deal",
        where=lambda t: t.deals.c.status == "open",
        per_pipeline=True,
        policies=("exchange_date",),
        compute=_weighted_forecast,
    ),
    Metric(
        name="sales_velocity",
        label="Sales velocity",
        unit="money_per_day",
        kind="derived",
        formula="open deals x win rate x average won deal / sales cycle in days",
        population="deals open at the end of the period, and the deals closed in it; per pipeline",
        traps="undefined where one of its parts is; with several currencies, win rate and cycle are of all deals; "
        "open deals and average are each currency's, and open deals without an amount are left out and counted",
        example="20 open, win rate 25%, average 1,000.00, cycle 50 days: 100.00 a day",
        subject="closed deals",
        base="deal",
        time=closed_at,
        where=closed,
        denominator_unit="days",
        per_pipeline=True,
        policies=("exchange_date",),
        compute=_sales_velocity,
    ),
)
