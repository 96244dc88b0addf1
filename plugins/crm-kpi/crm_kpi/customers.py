"""The customer base: who bought for the first time, who is still active, who left, and how the base grew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import attrs
from sqlalchemy import and_, case, exists, func, or_, select

from crm_core.extend import Measure, Metric, MetricQuery
from crm_core.query.functions import count_if, isum
from crm_core.query.policies import CHURNED, WON_BACK
from crm_kpi.sales import counting_sales, currency, sold_at, unknown_sales, with_customers

_POSSIBLY_OLDER: Final = "customers who look new in the first months of the data, and may have bought before it"
_NO_START: Final = "the number compares the start of a period with its end: name a period that has a start"
_NOT_BEGUN: Final = "the period has not begun"


@attrs.frozen
class _Activity:
    """Customers of one group: active at the start, at the end, at both, and churned in between."""

    start: int
    end: int
    kept: int
    churned: int

    def __add__(self, other: _Activity) -> _Activity:
        return _Activity(
            self.start + other.start, self.end + other.end, self.kept + other.kept, self.churned + other.churned
        )


def _first_moments(q: MetricQuery) -> Any:
    sales = q.tables.sales
    source, unit = q.unit_of(sales, sales.c.customer_id)
    first = func.min(sales.c.sold_at)
    return (
        select(unit.label("unit_id"), first.label("first_at"))
        .select_from(source)
        .where(sales.c.customer_id.is_not(None), counting_sales(q.tables))
        .group_by(unit)
        .having(*q.within(first))
        .subquery("first_moments")
    )


def _first_sales(q: MetricQuery, *, few: bool) -> tuple[Any, list[Any]]:
    """Return a relation with the sales table, and the conditions that leave each new customer's first sale in it.

    Of several at once the lowest id counts. Where `few` sales are looked at, each is asked for an earlier one; else
    the first moments of all customers are found on one way along an index.
    """
    sales = q.tables.sales
    if not q.counts_organisations:
        where = [sales.c.customer_id.is_not(None), sales.c.sold_at.is_not(None), counting_sales(q.tables)]
        where.append(~exists(_earlier(sales)))
        if few:
            return sales, where
        moments = _first_moments(q)
        same = and_(sales.c.customer_id == moments.c.unit_id, sales.c.sold_at == moments.c.first_at)
        return moments.join(sales, same), where
    moments, candidate = _first_moments(q), sales.alias("candidate")
    source, unit = q.unit_of(candidate, candidate.c.customer_id)
    same = and_(unit == moments.c.unit_id, candidate.c.sold_at == moments.c.first_at)
    chosen = (
        select(func.min(candidate.c.id).label("sale_id"))
        .select_from(source.join(moments, same))
        .where(candidate.c.voided_at.is_(None), candidate.c.kind == "sale")
        .group_by(moments.c.unit_id)
        .subquery("first_sales")
    )
    return chosen.join(sales, sales.c.id == chosen.c.sale_id), []


def _earlier(sales: Any) -> Any:
    earlier = sales.alias("earlier")
    before = or_(earlier.c.sold_at < sales.c.sold_at, earlier.c.id < sales.c.id)
    return (
        select(earlier.c.id)
        .where(earlier.c.customer_id == sales.c.customer_id, earlier.c.voided_at.is_(None), earlier.c.kind == "sale")
        .where(earlier.c.sold_at <= sales.c.sold_at, before)
        .correlate(sales)
    )


def _is_short(q: MetricQuery) -> bool:
    """Whether one period is asked for, in which only some of the sales lie."""
    return q.start is not None and len(q.buckets) == 1


def _new_customers(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    limit = q.doubtful_until or 0
    if q.by or q.where or _is_short(q):
        source, where = _first_sales(q, few=_is_short(q))
        cells = q.cells([func.count(), count_if(sold_at(t) < limit)], source=source, where=where, time=sold_at(t))
    else:
        moments = _first_moments(q)
        first = moments.c.first_at
        cells = q.cells([func.count(), count_if(first < limit)], source=moments, time=first)
    for cell in cells:
        yield cell.measure(numerator=cell.values[0], flagged={_POSSIBLY_OLDER: cell.values[1]})
    yield from _anonymous(q)


def _anonymous(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    where = [t.sales.c.customer_id.is_(None), counting_sales(t)]
    for cell in q.cells([func.count()], source=t.sales, where=where, time=sold_at(t)):
        if cell.values[0]:
            yield cell.measure(excluded={"sales without a customer": cell.values[0]})


def _net_new_revenue(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    first, where = _first_sales(q, few=_is_short(q))
    limit = q.doubtful_until or 0
    columns = [isum(t.sales.c.amount), unknown_sales(t), count_if(sold_at(t) < limit)]
    for cell in q.cells(columns, source=first, where=where, time=sold_at(t), currency=currency(t)):
        amount, unknown, older = cell.values
        excluded = {"first purchases without an amount": unknown}
        yield cell.measure(numerator=amount, excluded=excluded, flagged={_POSSIBLY_OLDER: older})
    first, where = _first_sales(q, few=True)
    refunds = t.sales.alias("refund")
    belongs = and_(refunds.c.refunds_sale_id == t.sales.c.id, refunds.c.kind == "refund", refunds.c.voided_at.is_(None))
    where += q.within(sold_at(t))
    if len(q.buckets) > 1:
        where.append(q.bucket(refunds.c.sold_at) == q.bucket(sold_at(t)))
    returned = q.cells(
        [isum(refunds.c.amount)],
        source=first.join(refunds, belongs),
        where=where,
        time=refunds.c.sold_at,
        currency=refunds.c.amount_currency,
    )
    for cell in returned:
        yield cell.measure(numerator=-cell.values[0])
    yield from _anonymous(q)


def _activity(q: MetricQuery, numerator: Callable[[_Activity], int]) -> Iterator[Measure]:
    for at, bucket in enumerate(q.buckets):
        reason = _NO_START if bucket.start_micros is None else _NOT_BEGUN if bucket.start_micros >= q.as_of else ""
        if reason:
            yield Measure(group=(None,) * len(q.by), bucket=at, undefined=reason)
            continue
        for group, found in q.once(("activity", q.by, at), partial(_active, q, at)).items():
            yield Measure(
                group=group, bucket=at, numerator=numerator(found), denominator=found.start, incomplete=_young(q, at)
            )


def _young(q: MetricQuery, at: int) -> str:
    sales = q.tables.sales
    first = q.once(
        "first sale",
        lambda: q.run(select(sales.c.sold_at).where(sold_at(q.tables).is_not(None)).order_by(sales.c.sold_at).limit(1)),
    )
    start = q.buckets[at].start_micros or 0
    if not first or first[0][0] <= q.days_before(start, q.policies.active_days):
        return ""
    return f"incomplete window: the data begins less than {q.policies.active_days} days before {q.buckets[at].name}"


def _active(q: MetricQuery, at: int) -> Mapping[tuple[Any, ...], _Activity]:
    start, end = q.buckets[at].start_micros or 0, q.instant(q.buckets[at])
    oldest_start, oldest_end = (q.days_before(moment, q.policies.active_days) for moment in (start, end))
    sales = q.tables.sales
    source, unit = q.unit_of(sales, sales.c.customer_id)
    before, latest = (func.max(case((sales.c.sold_at < moment, sales.c.sold_at))) for moment in (start, end))
    # The index by customer is read from end to end, in order. A condition on the moment would have SQLite read that
    # stretch of the index by moment and sort it, which takes longer unless the stretch is a small part of all sales.
    last = (
        select(unit.label("unit_id"), before.label("before"), latest.label("last"))
        .select_from(source)
        .where(sales.c.customer_id.is_not(None), counting_sales(q.tables))
        .group_by(unit)
        .having(latest >= oldest_start)
        .subquery("last_sales")
    )
    was, still = last.c.before >= oldest_start, last.c.last >= oldest_end
    columns = [count_if(was), count_if(still), count_if(and_(was, still))]
    found = {
        cell.group: _Activity(cell.values[0], cell.values[1], cell.values[2], cell.values[0] - cell.values[2])
        for cell in q.cells(columns, base="customer", source=with_customers(q, last))
    }
    for group, change in _corrections(q, start, end, oldest_start, oldest_end):
        found[group] = found.get(group, _Activity(0, 0, 0, 0)) + change
    return found


def _corrections(
    q: MetricQuery, start: int, end: int, oldest_start: int, oldest_end: int
) -> Iterator[tuple[tuple[Any, ...], _Activity]]:
    """Yield what churned and won-back events, few beside the sales, change of the answer that sales give."""
    events = _events(q, end)
    if not events:
        return
    for group, unit, before, last in _last_sales(q, start, end):
        mine = events.get(unit, [])
        plain = (before is not None and before >= oldest_start, last is not None and last >= oldest_end)
        true = (
            _is_active([event for event in mine if event[0] < start], before, oldest_start),
            _is_active(mine, last, oldest_end),
        )
        left = any(state in CHURNED and moment >= start for moment, state in mine)
        yield group, _counted(*true, left=left) + _taken_off(_counted(*plain, left=False))


def _counted(was: bool, still: bool, *, left: bool) -> _Activity:
    return _Activity(int(was), int(still), int(was and still), int(was and (left or not still)))


def _taken_off(one: _Activity) -> _Activity:
    return _Activity(-one.start, -one.end, -one.kept, -one.churned)


def _is_active(events: list[tuple[int, str]], last_sale: int | None, oldest: int) -> bool:
    """Return whether a customer is active; one who churned is again only by a later sale, or by being won back."""
    churned = max((moment for moment, state in events if state in CHURNED), default=None)
    won_back = max((moment for moment, state in events if state in WON_BACK), default=None)
    latest = max((moment for moment in (last_sale, won_back) if moment is not None), default=None)
    return latest is not None and latest >= oldest and (churned is None or churned < latest)


def _events(q: MetricQuery, end: int) -> dict[int, list[tuple[int, str]]]:
    changes = q.tables.lifecycle_changes
    source, unit = q.unit_of(changes, changes.c.customer_id)
    where = [changes.c.to_state.in_([*CHURNED, *WON_BACK]), changes.c.at < end]
    events: dict[int, list[tuple[int, str]]] = {}
    for customer, moment, state in q.run(
        select(unit, changes.c.at, changes.c.to_state).select_from(source).where(*where)
    ):
        events.setdefault(customer, []).append((moment, state))
    return events


def _last_sales(q: MetricQuery, start: int, end: int) -> list[tuple[tuple[Any, ...], int, int | None, int | None]]:
    """Return (group, customer, last sale before the start, last sale before the end) of those with such events."""
    t = q.tables
    changes, sales = t.lifecycle_changes, t.sales
    event_source, event_unit = q.unit_of(changes, changes.c.customer_id)
    affected = (
        select(event_unit.label("unit_id"))
        .select_from(event_source)
        .where(changes.c.to_state.in_([*CHURNED, *WON_BACK]), changes.c.at < end)
        .group_by(event_unit)
        .subquery("affected")
    )
    sale_source, sale_unit = q.unit_of(sales, sales.c.customer_id)
    last = (
        select(
            sale_unit.label("unit_id"),
            func.max(case((sales.c.sold_at < start, sales.c.sold_at))).label("before"),
            func.max(sales.c.sold_at).label("last"),
        )
        .select_from(sale_source)
        .where(sale_unit.in_(select(affected.c.unit_id)), counting_sales(t), sales.c.sold_at < end)
        .group_by(sale_unit)
        .subquery("last_sales")
    )
    both = affected.outerjoin(last, last.c.unit_id == affected.c.unit_id)
    both = both.join(t.customers, t.customers.c.id == affected.c.unit_id)
    source, dimensions = q.joined("customer", both)
    keys = [column.label(f"g{at}") for at, column in enumerate(dimensions)]
    statement = select(*keys, affected.c.unit_id, last.c.before, last.c.last).select_from(source)
    width = len(keys)
    return [(row[:width], *row[width:]) for row in q.run(statement.where(*q.filters("customer")))]


METRICS: Final = (
    Metric(
        name="new_customers",
        label="New customers",
        unit="count",
        kind="flow",
        formula="number of customers whose first-ever sale lies in the period",
        population="customers with a sale that was not voided; dimensions are those of the first sale",
        traps="a customer won back is not new; in the first months of the data everybody looks new",
        example="first-ever purchases by 3 customers, a return of a 4th: 3",
        subject="first purchases",
        base="sale",
        time=sold_at,
        where=counting_sales,
        policies=("customer_unit", "history_starts_on", "history_months"),
        compute=_new_customers,
    ),
    Metric(
        name="net_new_revenue",
        label="Net new revenue",
        unit="money",
        kind="flow",
        formula="sum of the first purchases of customers new in the period - refunds of them in the period",
        population="the first-ever sale of each customer new in the period; dimensions are those of that sale",
        traps="refunded first purchases are taken off; of two sales at one moment the one stored first is the first",
        example="first purchases of 100.00 and 60.00, the second refunded: 100.00",
        subject="first purchases",
        base="sale",
        time=sold_at,
        where=counting_sales,
        policies=("customer_unit", "exchange_date", "history_starts_on", "history_months"),
        compute=_net_new_revenue,
    ),
    Metric(
        name="base_growth",
        label="Growth of the base",
        unit="ratio",
        kind="ratio",
        formula="(active at the end - active at the start) / active at the start",
        population="customers with a sale in the days before each end of the period that `active_days` counts",
        traps="may be negative; an explicit churn ends activity before the days are over",
        example="100 active at the start, 120 at the end: 20%",
        subject="active customers",
        base="customer",
        rows="sale",
        time=sold_at,
        where=counting_sales,
        policies=("customer_unit", "active_days"),
        compute=lambda q: _activity(q, lambda found: found.end - found.start),
    ),
    Metric(
        name="retention_rate",
        label="Retention rate",
        unit="ratio",
        kind="ratio",
        formula="active at the start and at the end / active at the start",
        population="customers active at the start of the period",
        traps="a comparison of sets: customers won or lost inside the period are on neither side",
        example="of 100 active at the start 90 are active at the end: 90%",
        subject="customers active at the start",
        base="customer",
        rows="sale",
        time=sold_at,
        where=counting_sales,
        policies=("customer_unit", "active_days"),
        compute=lambda q: _activity(q, lambda found: found.kept),
    ),
    Metric(
        name="churn_rate",
        label="Churn rate",
        unit="ratio",
        kind="ratio",
        direction="down",
        formula="churned in the period, of those active at the start / active at the start",
        population="customers active at the start of the period",
        traps="churned is an event in the period, else no longer being active at its end; one won back has churned",
        example="of 100 active at the start 10 left: 10%",
        subject="customers active at the start",
        base="customer",
        rows="sale",
        time=sold_at,
        where=counting_sales,
        policies=("customer_unit", "active_days"),
        compute=lambda q: _activity(q, lambda found: found.churned),
    ),
)
