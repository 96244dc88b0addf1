"""Leads: who became a customer, by the cohort of first contact and by the period of conversion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import and_, case, func, literal, or_, select

from crm_core.extend import Measure, Metric, MetricQuery
from crm_core.query.functions import count_if
from crm_core.query.policies import LEAD_ROLE
from crm_kpi.sales import counting_sales, with_customers

_DAY: Final = 86_400_000_000
_EVER: Final = 2**62
"""Later than any date: a conversion whose date is unknown."""
_EARLY: Final = "leads who had bought before their first contact"


def _leads(q: MetricQuery) -> Any:
    """Return (unit_id, first_at, sale_at, won_at) of every lead: first contact, sale and win, NULL for none."""
    t = q.tables
    customers = t.customers
    sale = select(func.min(func.coalesce(t.sales.c.sold_at, _EVER)))
    sale = sale.where(t.sales.c.customer_id == customers.c.id, counting_sales(t)).correlate(customers)
    won = select(func.min(func.coalesce(t.deals.c.closed_at, _EVER)))
    won = won.where(t.deals.c.customer_id == customers.c.id, t.deals.c.status == "won").correlate(customers)
    first = customers.c.first_contact_at
    is_lead = customers.c.role == LEAD_ROLE
    if not q.counts_organisations:
        columns = [customers.c.id.label("unit_id"), first.label("first_at")]
        columns += [sale.scalar_subquery().label("sale_at"), won.scalar_subquery().label("won_at")]
        return select(*columns).where(first.is_not(None), is_lead).subquery("leads")
    source, unit = q.unit_of(customers, customers.c.id)
    members = (
        select(
            unit.label("unit_id"),
            case((is_lead, first)).label("first_at"),
            sale.scalar_subquery().label("sale_at"),
            won.scalar_subquery().label("won_at"),
        )
        .select_from(source)
        .subquery("members")
    )
    head = customers.alias("head")
    firsts = [func.min(members.c[name]).label(name) for name in ("first_at", "sale_at", "won_at")]
    return (
        select(members.c.unit_id, *firsts)
        .select_from(members.join(head, head.c.id == members.c.unit_id))
        .where(head.c.role == LEAD_ROLE)
        .group_by(members.c.unit_id)
        .having(func.min(members.c.first_at).is_not(None))
        .subquery("leads")
    )


def _lead_conversion(q: MetricQuery) -> Iterator[Measure]:
    leads = q.once("leads", lambda: _leads(q))
    days = q.policies.conversion_days
    limit = leads.c.first_at + days * _DAY if days else literal(_EVER + 1)
    converted = _before(limit, leads)
    if q.unknown_from is not None:
        converted = and_(converted, _before(literal(q.unknown_from), leads))
    early = or_(leads.c.sale_at < leads.c.first_at, leads.c.won_at < leads.c.first_at)
    columns = [count_if(converted), func.count(), count_if(early)]
    for cell in q.cells(columns, source=with_customers(q, leads), time=leads.c.first_at):
        became, all_of_them, before = cell.values
        yield cell.measure(numerator=became, denominator=all_of_them, flagged={_EARLY: before})


def _before(limit: Any, leads: Any) -> Any:
    return or_(leads.c.sale_at < limit, leads.c.won_at < limit)


def _converted_at(leads: Any) -> Any:
    sold, won = leads.c.sale_at, leads.c.won_at
    return case((or_(won.is_(None), sold <= won), sold), else_=won)


def _span(q: MetricQuery) -> tuple[int, int] | None:
    """Return the first and last moment of a first contact or a conversion."""
    leads = q.once("leads", lambda: _leads(q))
    at = _converted_at(leads)
    dated = case((at < _EVER, at))
    columns = [pick(each) for each in (leads.c.first_at, dated) for pick in (func.min, func.max)]
    moments = [at for at in q.run(select(*columns).select_from(leads))[0] if at is not None]
    return (min(moments), max(moments)) if moments else None


def _lead_conversion_period(q: MetricQuery) -> Iterator[Measure]:
    leads = q.once("leads", lambda: _leads(q))
    source = with_customers(q, leads)
    at = _converted_at(leads)
    for cell in q.cells([func.count()], source=source, where=[at.is_not(None)], time=at):
        yield cell.measure(numerator=cell.values[0])
    for cell in q.cells([func.count()], source=source, time=leads.c.first_at):
        yield cell.measure(denominator=cell.values[0])


def _first_contact(t: Any) -> Any:
    return t.customers.c.first_contact_at


def _is_lead(t: Any) -> Any:
    return and_(t.customers.c.first_contact_at.is_not(None), t.customers.c.role == LEAD_ROLE)


METRICS: Final = (
    Metric(
        name="lead_conversion",
        label="Lead conversion",
        unit="ratio",
        kind="cohort",
        formula="leads of the period who became customers, whenever / leads of the period",
        population="customers first contacted in the period, but suppliers, partners and mere contacts",
        traps="any won deal or sale converts; one earlier than the first contact counts and is flagged",
        example="of 100 leads of January 12 bought by today: 12%",
        subject="leads",
        base="customer",
        time=_first_contact,
        where=_is_lead,
        policies=("lead", "customer_unit", "conversion_days"),
        compute=_lead_conversion,
    ),
    Metric(
        name="lead_conversion_period",
        label="Lead conversion, by period",
        unit="ratio",
        kind="ratio",
        formula="leads who became customers in the period / leads of the period",
        population="the numerator counts first purchases in the period, of leads first contacted whenever",
        traps="numerator and denominator are other people, so a period may pass 100%",
        example="12 conversions in January, 100 leads in January: 12%",
        subject="leads",
        base="customer",
        time=_first_contact,
        where=_is_lead,
        policies=("lead", "customer_unit"),
        compute=_lead_conversion_period,
        span=_span,
    ),
)
