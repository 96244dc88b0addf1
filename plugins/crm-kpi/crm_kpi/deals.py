"""Selling: how many deals are won, what of their worth, and how fast; per pipeline, in the period they closed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, case, func

from crm_core.extend import Measure, Metric, MetricQuery
from crm_core.query.functions import count_if, isum

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from crm_core.query.tables import Tables

_DAY: Final = 86_400_000_000
_HALF: Final = _DAY // 2


def closed_at(t: Tables) -> ColumnElement[Any]:
    """Return when a deal was won or lost for the last time."""
    return t.deals.c.closed_at


def opened_at(t: Tables) -> ColumnElement[Any]:
    """Return when a deal was opened."""
    return t.deals.c.opened_at


def closed(t: Tables) -> ColumnElement[Any]:
    """Deals that are won or lost now; one that was reopened is not."""
    return t.deals.c.status.in_(("won", "lost"))


def won(t: Tables) -> ColumnElement[bool]:
    """Deals that are won now."""
    return t.deals.c.status == "won"


def currency(t: Tables) -> ColumnElement[Any]:
    """Return the currency of a deal's amount."""
    return t.deals.c.amount_currency


def lasting(start: Any, start_is_date: Any, end: Any, end_is_date: Any) -> ColumnElement[int]:
    """Return the microseconds from one moment to another: whole calendar days where both are days.

    A day around a change of the clocks has 23 or 25 hours, so the elapsed time is rounded to days. Negative durations
    stay negative; they are never averaged.
    """
    elapsed = end - start
    whole_days = elapsed + _HALF - (elapsed + _HALF) % _DAY
    return case((and_(start_is_date == 1, end_is_date == 1), whole_days), else_=elapsed)


def _cycle(t: Tables) -> ColumnElement[int]:
    deals = t.deals.c
    return lasting(deals.opened_at, deals.opened_at_is_date, deals.closed_at, deals.closed_at_is_date)


def _has_cycle(t: Tables) -> ColumnElement[bool]:
    return and_(won(t), t.deals.c.opened_at <= t.deals.c.closed_at)


def _first_contact_cycle(t: Tables) -> ColumnElement[int]:
    deals, customers = t.deals.c, t.customers.c
    start = customers.first_contact_at
    return lasting(start, customers.first_contact_at_is_date, deals.closed_at, deals.closed_at_is_date)


def _without_opening(t: Tables) -> ColumnElement[int]:
    return count_if(and_(won(t), t.deals.c.opened_at.is_(None)))


def _closed_before_opening(t: Tables) -> ColumnElement[int]:
    return count_if(and_(won(t), t.deals.c.opened_at > t.deals.c.closed_at))


_CYCLE_EXCLUDED: Final = {
    "won deals without an opening date": _without_opening,
    "won deals that closed before they opened": _closed_before_opening,
}


def _lost_amounts_unusable(counts: Mapping[str, int]) -> str:
    if counts["numerator"] < counts["denominator"]:
        return ""
    zero, unknown = counts["lost deals of amount 0"], counts["lost deals without an amount"]
    return "the amounts of the lost deals are missing or all 0" if zero or unknown else ""


def _close_rate(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    by_then = won(t) if q.unknown_from is None else and_(won(t), closed_at(t) < q.unknown_from)
    for cell in q.cells([count_if(by_then), func.count()], time=opened_at(t)):
        yield cell.measure(numerator=cell.values[0], denominator=cell.values[1])


def _sales_cycle_median(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    reasons = ("won deals that closed before they opened", "won deals without an opening date")
    yield from medians(q, _cycle(t), [won(t)], closed_at(t), reasons)


def _first_contact(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    deals, customers = t.deals, t.customers
    source = deals.outerjoin(customers, customers.c.id == deals.c.customer_id)
    start = customers.c.first_contact_at
    fine = start <= deals.c.closed_at
    columns = [
        isum(case((fine, _first_contact_cycle(t))), bounded=True),
        count_if(fine),
        count_if(start.is_(None)),
        count_if(start > deals.c.closed_at),
    ]
    for cell in q.cells(columns, source=source, where=[won(t)], time=closed_at(t)):
        total, number, unknown, before = cell.values
        excluded = {
            "won deals whose customer's first contact is unknown": unknown,
            "deals won before the first contact": before,
        }
        yield cell.measure(numerator=total, denominator=number, excluded=excluded)


def medians(
    q: MetricQuery,
    value: Any,
    where: Sequence[Any],
    time: Any,
    reasons: tuple[str, str],
    *,
    source: Any = None,
    instead: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Measure]:
    """Yield the median of `value` per group and bucket: the mean of its two middle values.

    Values below 0 and unknown ones are left out and counted under the two `reasons`.
    """
    values: dict[tuple[tuple[Any, ...], int], list[tuple[int, int]]] = {}
    for cell in q.cells([func.count()], source=source, where=where, time=time, also=[value], instead=instead):
        duration, number = cell.also[0], cell.values[0]
        if duration is None or duration < 0:
            yield cell.measure(excluded={reasons[duration is None]: number})
        else:
            values.setdefault((cell.group, cell.bucket), []).append((duration, number))
    for (group, bucket), counted in values.items():
        counted.sort()
        total = sum(number for _, number in counted)
        low, high = _at(counted, (total + 1) // 2), _at(counted, (total + 2) // 2)
        yield Measure(group=group, bucket=bucket, numerator=Fraction(low + high, 2), denominator=1)


def _at(values: list[tuple[int, int]], rank: int) -> int:
    passed = 0
    for value, number in values:
        passed += number
        if passed >= rank:
            return value
    raise AssertionError("a rank lies within the values")


METRICS: Final = (
    Metric(
        name="win_rate",
        label="Win rate",
        unit="ratio",
        kind="ratio",
        formula="won / (won + lost)",
        population="deals closed in the period, per pipeline",
        traps="open deals are in neither part; of a reopened deal the last end counts",
        example="45 won, 135 lost, 80 open: 25%; 20 won, 80 lost: 20%",
        subject="closed deals",
        base="deal",
        time=closed_at,
        where=closed,
        numerator=lambda t: count_if(won(t)),
        denominator=lambda t: func.count(),
        per_pipeline=True,
    ),
    Metric(
        name="win_rate_value",
        label="Win rate by value",
        unit="ratio",
        kind="ratio",
        formula="amount won / (amount won + amount lost)",
        population="deals closed in the period with a known amount, per pipeline",
        traps="undefined where the amounts of lost deals are missing or all 0: it would always be 100%",
        example="won 300.00, lost 100.00: 75%",
        subject="closed deals",
        base="deal",
        time=closed_at,
        where=closed,
        numerator=lambda t: isum(case((won(t), t.deals.c.amount))),
        denominator=lambda t: isum(t.deals.c.amount),
        numerator_unit="money",
        denominator_unit="money",
        currency=currency,
        per_pipeline=True,
        excluded={
            "won deals without an amount": lambda t: count_if(and_(won(t), t.deals.c.amount.is_(None))),
            "lost deals without an amount": lambda t: count_if(
                and_(t.deals.c.status == "lost", t.deals.c.amount.is_(None))
            ),
        },
        flagged={
            "lost deals of amount 0": lambda t: count_if(and_(t.deals.c.status == "lost", t.deals.c.amount == 0)),
        },
        undefined_when=_lost_amounts_unusable,
        policies=("exchange_date",),
    ),
    Metric(
        name="close_rate",
        label="Close rate",
        unit="ratio",
        kind="cohort",
        formula="deals won / all deals",
        population="deals opened in the period, whenever they were won, per pipeline",
        traps="deals still open are in the denominator, so the rate of a young period will still rise",
        example="100 deals, 10 of them won: 10%",
        subject="deals",
        base="deal",
        time=opened_at,
        per_pipeline=True,
        compute=_close_rate,
    ),
    Metric(
        name="sales_cycle",
        label="Sales cycle",
        unit="days",
        kind="ratio",
        direction="down",
        formula="mean of (closed - opened)",
        population="deals won in the period, per pipeline; calendar days where both ends are days, else elapsed time",
        traps="a deal that closed before it opened is flagged, not averaged",
        example="45, 54 and 39 days: mean 46",
        subject="won deals",
        base="deal",
        time=closed_at,
        where=closed,
        numerator=lambda t: isum(case((_has_cycle(t), _cycle(t))), bounded=True),
        denominator=lambda t: count_if(_has_cycle(t)),
        per_pipeline=True,
        excluded=_CYCLE_EXCLUDED,
    ),
    Metric(
        name="sales_cycle_median",
        label="Sales cycle, median",
        unit="days",
        kind="ratio",
        direction="down",
        formula="median of (closed - opened): the middle value, or the mean of the two middle ones",
        population="deals won in the period, per pipeline",
        traps="a deal that closed before it opened is flagged, not counted",
        example="45, 54 and 39 days: 45",
        subject="won deals",
        base="deal",
        time=closed_at,
        where=won,
        per_pipeline=True,
        compute=_sales_cycle_median,
    ),
    Metric(
        name="first_contact_cycle",
        label="First contact to win",
        unit="days",
        kind="ratio",
        direction="down",
        formula="mean of (closed - the customer's first contact)",
        population="deals won in the period, per pipeline",
        traps="a deal won before the first contact is flagged, not averaged",
        example="won 10 and 20 days after the first contact: 15",
        subject="won deals",
        base="deal",
        time=closed_at,
        where=won,
        per_pipeline=True,
        compute=_first_contact,
    ),
)
