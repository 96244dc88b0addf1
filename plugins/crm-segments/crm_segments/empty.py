"""What to say where a period has no sales: when there are some."""

from __future__ import annotations

from datetime import date

from sqlalchemy import func, select

from crm_core.extend import SegmentQuery
from crm_core.values import from_micros


def nothing_sold(q: SegmentQuery, purpose: str) -> str:
    """Say that there are no sales to `purpose` by, and which period to ask for instead, if the question named one."""
    if q.start is not None or q.end is not None:
        sales = q.tables.sales
        at = sales.c.sold_at
        counted = [at.is_not(None), sales.c.voided_at.is_(None), sales.c.customer_id.is_not(None)]
        first, last = q.run(select(func.min(at), func.max(at)).where(*counted))[0]
        if last is not None:
            nearest = first if q.end is not None and q.end <= first else last
            found = f"data goes from {_day(q, first)} to {_day(q, last)}"
            quarter = q.crm.calendar.name_of("quarter", _day(q, nearest))
            return f"No sales in the period to {purpose} by; {found}; try --period {quarter}"
    return f"No sales to {purpose} by; `crm sales list` shows what there is"


def _day(q: SegmentQuery, micros: int) -> date:
    return from_micros(micros).astimezone(q.crm.zone).date()
