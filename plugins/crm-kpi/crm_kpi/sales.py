"""Revenue, orders and refunds: what the sales say, each refund in the period in which it was given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, case, func, select

from crm_core.extend import Cell, Measure, Metric, MetricQuery
from crm_core.query.functions import count_if, isum

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from crm_core.query.tables import Tables

MONEY_POLICIES: Final = ("exchange_date",)


def sold_at(t: Tables) -> ColumnElement[Any]:
    """When a sale was made, or a refund given."""
    return t.sales.c.sold_at


def counts(t: Tables) -> ColumnElement[Any]:
    """Voided sales never happened."""
    return t.sales.c.voided_at.is_(None)


def is_sale(t: Tables) -> ColumnElement[bool]:
    """Tell a sale from a refund."""
    return t.sales.c.kind == "sale"


def counting_sales(t: Tables) -> ColumnElement[Any]:
    """Sales that were not voided; no refunds."""
    return and_(counts(t), is_sale(t))


def net(t: Tables) -> ColumnElement[int]:
    """Return the amount of a sale, taken off for a refund."""
    return case((is_sale(t), t.sales.c.amount), else_=-t.sales.c.amount)


def currency(t: Tables) -> ColumnElement[Any]:
    """Return the currency of a sale's amount."""
    return t.sales.c.amount_currency


def revenue(t: Tables) -> ColumnElement[int]:
    """Sales minus refunds."""
    return isum(net(t))


def known_sales(t: Tables) -> ColumnElement[int]:
    """How many sales have a known amount."""
    return count_if(and_(is_sale(t), t.sales.c.amount.is_not(None)))


def unknown_sales(t: Tables) -> ColumnElement[int]:
    """How many sales have no known amount."""
    return count_if(and_(is_sale(t), t.sales.c.amount.is_(None)))


def unknown_refunds(t: Tables) -> ColumnElement[int]:
    """How many refunds have no known amount."""
    return count_if(and_(t.sales.c.kind == "refund", t.sales.c.amount.is_(None)))


def several_rates(q: MetricQuery, cells: list[Cell]) -> bool:
    """Whether one customer may be counted in several cells of one group, once per currency or rate."""
    return q.reporting_currency is not None and len({(cell.currency, cell.interval) for cell in cells}) > 1


_WITHOUT_AMOUNT: Final = {"sales without an amount": unknown_sales, "refunds without an amount": unknown_refunds}


def _revenue_per_customer(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    sales = t.sales
    source, unit = q.unit_of(sales, sales.c.customer_id)
    known = sales.c.customer_id.is_not(None)
    buyers = func.count(case((and_(known, is_sale(t), sales.c.amount.is_not(None)), unit)).distinct())
    nobody = count_if(sales.c.customer_id.is_(None))
    columns = [isum(case((known, net(t)))), buyers, unknown_sales(t), nobody]
    where = [counts(t)]
    cells = q.cells(columns, source=source, where=where, time=sold_at(t), currency=currency(t))
    apart = several_rates(q, cells)
    for cell in cells:
        earned, customers, unknown, anonymous = cell.values
        excluded = {"sales without an amount": unknown, "sales and refunds without a customer": anonymous}
        yield cell.measure(numerator=earned, denominator=0 if apart else customers, excluded=excluded)
    if apart:
        for cell in q.cells([buyers], source=source, where=where, time=sold_at(t)):
            yield cell.measure(denominator=cell.values[0])


def _repeat_purchase_rate(q: MetricQuery) -> Iterator[Measure]:
    t = q.tables
    sales = t.sales
    source, unit = q.unit_of(sales, sales.c.customer_id)
    several = len(q.buckets) > 1
    keys = [unit.label("unit_id"), *([q.bucket(sold_at(t)).label("bucket")] if several else [])]
    known = [sales.c.customer_id.is_not(None), counting_sales(t), *q.within(sold_at(t))]
    buyers = select(*keys, func.count().label("n")).select_from(source).where(*known).group_by(*keys).subquery()
    for at in range(len(q.buckets)):
        mine = [buyers.c.bucket == at] if several else []
        columns = [count_if(buyers.c.n >= 2), func.count()]
        for cell in q.cells(columns, source=with_customers(q, buyers), where=mine):
            again, all_of_them = cell.values
            yield Measure(group=cell.group, bucket=at, numerator=again, denominator=all_of_them)


def with_customers(q: MetricQuery, source: Any, units: Any = None) -> Any:
    """Return `source`, joined with the customers of its `unit_id`s only where a dimension or filter needs them.

    `units` is the part of a joined source that has them.
    """
    customers = q.tables.customers
    has = source if units is None else units
    return source.join(customers, customers.c.id == has.c.unit_id) if q.by or q.where else source


METRICS: Final = (
    Metric(
        name="revenue",
        label="Revenue",
        unit="money",
        kind="flow",
        formula="sum of sales - sum of refunds",
        population="sales and refunds of the period that were not voided",
        traps="a refund counts in its own period; unknown amounts are counted apart; currencies are not mixed",
        example="sales of 100.00 and 60.00, refund of 20.00: 140.00",
        subject="sales",
        base="sale",
        time=sold_at,
        where=counts,
        numerator=revenue,
        currency=currency,
        excluded=_WITHOUT_AMOUNT,
        policies=MONEY_POLICIES,
    ),
    Metric(
        name="sales_count",
        label="Sales",
        unit="count",
        kind="flow",
        formula="number of sales",
        population="sales of the period that were not voided; refunds are no sales",
        traps="a refunded sale stays a sale",
        example="2 sales and 1 refund: 2",
        subject="sales",
        base="sale",
        time=sold_at,
        where=counts,
        numerator=lambda t: count_if(is_sale(t)),
    ),
    Metric(
        name="average_order_value",
        label="Average order value",
        unit="money",
        kind="ratio",
        formula="revenue / sales",
        population="sales with a known amount, minus the refunds of the period",
        traps="a sale without an amount is in neither part",
        example="sales of 100.00 and 60.00, refund of 20.00: 140.00 / 2 = 70.00",
        subject="sales",
        base="sale",
        time=sold_at,
        where=counts,
        numerator=revenue,
        denominator=known_sales,
        currency=currency,
        excluded=_WITHOUT_AMOUNT,
        policies=MONEY_POLICIES,
    ),
    Metric(
        name="revenue_per_customer",
        label="Revenue per customer",
        unit="money",
        kind="ratio",
        formula="revenue / customers who bought",
        population="sales and refunds of the period with a known customer and amount",
        traps="who bought in two currencies is one customer of each, and one in all of the converted revenue",
        example="100.00 and 60.00 of one customer, 40.00 of another: 200.00 / 2 = 100.00",
        subject="sales",
        base="sale",
        time=sold_at,
        where=counts,
        aliases=("average_sale_value",),
        policies=("customer_unit", *MONEY_POLICIES),
        compute=_revenue_per_customer,
    ),
    Metric(
        name="repeat_purchase_rate",
        label="Repeat purchase rate",
        unit="ratio",
        kind="ratio",
        formula="customers with two sales or more / customers with a sale",
        population="customers with a sale in the period; dimensions are the customer's",
        traps="counts distinct customers, not sales",
        example="2 of 5 buyers bought again: 40%",
        subject="customers who bought",
        base="customer",
        rows="sale",
        time=sold_at,
        where=counting_sales,
        policies=("customer_unit",),
        compute=_repeat_purchase_rate,
    ),
    Metric(
        name="refund_rate",
        label="Refund rate",
        unit="ratio",
        kind="ratio",
        direction="down",
        formula="amount refunded / amount sold",
        population="sales and refunds of the period that were not voided",
        traps="a refund counts in its own period, so the rate of a period can pass 100%",
        example="20.00 refunded of 160.00 sold: 12.5%",
        subject="sales",
        base="sale",
        time=sold_at,
        where=counts,
        numerator=lambda t: isum(case((t.sales.c.kind == "refund", t.sales.c.amount))),
        denominator=lambda t: isum(case((is_sale(t), t.sales.c.amount))),
        numerator_unit="money",
        denominator_unit="money",
        currency=currency,
        excluded=_WITHOUT_AMOUNT,
        policies=MONEY_POLICIES,
    ),
)
