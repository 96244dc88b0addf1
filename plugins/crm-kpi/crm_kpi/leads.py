"""Leads: who became a customer, by the cohort of first contact and by the period of conversion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import and_, case, exists, func, literal, or_, select, union_all

from crm_core.extend import Measure, Metric, MetricQuery
from crm_core.query.functions import count_if
from crm_core.query.policies import LEAD_ROLE
from crm_kpi.deals import won
from crm_kpi.sales import counting_sales, with_customers

_DAY: Final = 86_400_000_000
_HALF: Final = _DAY // 2
_EVER: Final = 2**62
"""Later than any date: a conversion whose date is unknown."""
_EARLY: Final = "leads who had bought before their first contact"


def _sales_of(q: MetricQuery, *columns: Any) -> Any:
    """Select from the sales of the customer at hand."""
    customers, sales = q.tables.customers, q.tables.sales
    mine = select(*columns).where(sales.c.customer_id == customers.c.id, counting_sales(q.tables))
    return mine.correlate(customers)


def _wins_of(q: MetricQuery, *columns: Any) -> Any:
    """Select from the won deals of the customer at hand."""
    customers, deals = q.tables.customers, q.tables.deals
    return select(*columns).where(deals.c.customer_id == customers.c.id, won(q.tables)).correlate(customers)


def _leads(q: MetricQuery) -> Any:
    """Return (unit_id, first_at, sale_at, won_at) of the leads of the period: first contact, sale and win, or NULL.

    Where a policy counts days, also (first_on, sale_on, won_on): the first of those that are days without a time.
    """
    t = q.tables
    customers, sales, deals = t.customers, t.sales.c, t.deals.c
    first = customers.c.first_contact_at
    firsts = {"first_at": first}
    found = {
        "sale_at": _sales_of(q, func.min(func.coalesce(sales.sold_at, _EVER))),
        "won_at": _wins_of(q, func.min(func.coalesce(deals.closed_at, _EVER))),
    }
    if q.policies.conversion_days:
        firsts["first_on"] = _day(first, customers.c.first_contact_at_is_date)
        found["sale_on"] = _sales_of(q, func.min(_day(sales.sold_at, sales.sold_at_is_date)))
        found["won_on"] = _wins_of(q, func.min(_day(deals.closed_at, deals.closed_at_is_date)))
    looked_up = [each.scalar_subquery().label(name) for name, each in found.items()]
    if not q.counts_organisations:
        columns = [customers.c.id.label("unit_id"), *(func.min(each).label(name) for name, each in firsts.items())]
        # Grouped by its key, because SQLite dissolves a plain subquery and looks up sale and win for each mention.
        leads = select(*columns, *looked_up).where(_is_lead(t), *q.within(first)).group_by(customers.c.id)
        return leads.subquery("leads")
    source, unit = q.unit_of(customers, customers.c.id)
    contacts = [case((customers.c.role == LEAD_ROLE, each)).label(name) for name, each in firsts.items()]
    members = select(unit.label("unit_id"), *contacts, *looked_up).select_from(source).subquery("members")
    return _of_heads(q, members, *firsts, *found)


def _day(moment: Any, is_date: Any) -> Any:
    """Return a moment that is a day without a time, else NULL."""
    return case((is_date == 1, moment))


def _of_heads(q: MetricQuery, members: Any, *names: str) -> Any:
    """Return the least of each column per unit that is a lead, of rows that name their unit."""
    head = q.tables.customers.alias("head")
    least = [func.min(members.c[name]).label(name) for name in names]
    return (
        select(members.c.unit_id, *least)
        .select_from(members.join(head, head.c.id == members.c.unit_id))
        .where(head.c.role == LEAD_ROLE)
        .group_by(members.c.unit_id)
        .having(func.min(members.c.first_at).is_not(None))
        .subquery("leads")
    )


def _firsts(q: MetricQuery) -> Any:
    """Return (unit_id, first_at) of every lead."""
    customers = q.tables.customers
    first = customers.c.first_contact_at
    if not q.counts_organisations:
        return (
            select(customers.c.id.label("unit_id"), first.label("first_at")).where(_is_lead(q.tables)).subquery("leads")
        )
    source, unit = q.unit_of(customers, customers.c.id)
    mine = select(unit.label("unit_id"), case((customers.c.role == LEAD_ROLE, first)).label("first_at"))
    return _of_heads(q, mine.select_from(source).subquery("members"), "first_at")


def _conversions(q: MetricQuery) -> Any:
    """Return (unit_id, at) of whoever bought or won: the first moment of either."""
    t = q.tables
    ways = []
    for table, moment, condition in (
        (t.sales, t.sales.c.sold_at, counting_sales(t)),
        (t.deals, t.deals.c.closed_at, won(t)),
    ):
        source, unit = q.unit_of(table, table.c.customer_id)
        at = func.min(func.coalesce(moment, _EVER)).label("at")
        way = select(unit.label("unit_id"), at).select_from(source)
        ways.append(way.where(table.c.customer_id.is_not(None), condition).group_by(unit))
    both = union_all(*ways).subquery("ways")
    return select(both.c.unit_id, func.min(both.c.at).label("at")).group_by(both.c.unit_id).subquery("conversions")


def _lead_conversion(q: MetricQuery) -> Iterator[Measure]:
    leads = _leads(q)
    converted = _converted(q, leads)
    early = or_(leads.c.sale_at < leads.c.first_at, leads.c.won_at < leads.c.first_at)
    columns = [count_if(converted), func.count(), count_if(early)]
    for cell in q.cells(columns, source=with_customers(q, leads), time=leads.c.first_at):
        became, all_of_them, before = cell.values
        yield cell.measure(numerator=became, denominator=all_of_them, flagged={_EARLY: before})


def _converted(q: MetricQuery, leads: Any) -> Any:
    """Return the condition that a lead became a customer, in time and by now.

    Two days are so many calendar days apart, though a change of the clocks makes one of them an hour shorter or longer:
    half a day more is allowed for it. Anything with a time of day has so many times 24 hours.
    """
    days = q.policies.conversion_days
    if not days:
        return _by(q, literal(_EVER + 1), leads.c.sale_at, leads.c.won_at)
    end = leads.c.first_at + days * _DAY
    both_are_days = and_(leads.c.first_on == leads.c.first_at, _by(q, end + _HALF, leads.c.sale_on, leads.c.won_on))
    return or_(_by(q, end + 1, leads.c.sale_at, leads.c.won_at), both_are_days)


def _by(q: MetricQuery, limit: Any, *moments: Any) -> Any:
    """Return the condition that one of the moments comes before the limit, and before what is unknown yet."""
    known = [] if q.unknown_from is None else [q.unknown_from]
    return or_(*(and_(moment < limit, *(moment < end for end in known)) for moment in moments))


def _span(q: MetricQuery) -> tuple[int, int] | None:
    """Return the first and last moment of a first contact or a conversion."""
    leads, conversions = _firsts(q), _conversions(q)
    dated = case((conversions.c.at < _EVER, conversions.c.at))
    columns = [pick(each) for each in (leads.c.first_at, dated) for pick in (func.min, func.max)]
    source = leads.outerjoin(conversions, conversions.c.unit_id == leads.c.unit_id)
    moments = [at for at in q.run(select(*columns).select_from(source))[0] if at is not None]
    return (min(moments), max(moments)) if moments else None


def _lead_conversion_period(q: MetricQuery) -> Iterator[Measure]:
    t, leads = q.tables, _firsts(q)
    if len(q.buckets) == 1 and not q.within(leads.c.first_at) and not q.counts_organisations:
        ever = or_(exists(_sales_of(q, t.sales.c.id)), exists(_wins_of(q, t.deals.c.id)))
        cells = q.cells([func.count()], source=t.customers, where=[_is_lead(t), ever])
    else:
        conversions = _conversions(q)
        became = conversions.join(leads, leads.c.unit_id == conversions.c.unit_id)
        cells = q.cells([func.count()], source=with_customers(q, became, leads), time=conversions.c.at)
    for cell in cells:
        yield cell.measure(numerator=cell.values[0])
    for cell in q.cells([func.count()], source=with_customers(q, leads), time=leads.c.first_at):
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
        formula="leads of the period who became customers, within conversion_days (0: whenever) / leads of the period",
        population="customers first contacted in the period, but suppliers, partners and mere contacts",
        traps="any won deal or sale converts; one earlier than the first contact counts and is flagged; "
        "conversion_days are calendar days, the last included, where both ends are days, else 24 hours each",
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
