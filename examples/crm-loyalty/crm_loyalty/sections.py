"""What the 360 view and the report show of loyalty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crm_core.events import ProfileWanted
from crm_core.extend import ProfileSection, ReportQuery, ReportSection
from crm_loyalty.accounts import entries_of
from crm_loyalty.lots import lots_of


def _lots(event: ProfileWanted) -> list[Mapping[str, Any]]:
    lots = lots_of(entries_of(event.crm, event.customer.id))
    return [{"earned": lot.earned, "left": lot.left, "at": lot.at} for lot in lots]


def _tiers(query: ReportQuery) -> Mapping[str, Any]:
    found = query.crm.segments.run("loyalty_tiers", as_of=query.as_of)
    rows = [(group.label, group.customers) for group in found.summary]
    if not any(customers for _, customers in rows):
        return {"notes": ["No customer has points yet; sales to known customers give them."]}
    return {
        "notes": ["Tiers follow from the balance of points; one point for each whole unit sold."],
        "table": {"columns": ["tier", "customers"], "rows": rows},
    }


PROFILE = ProfileSection(name="loyalty", title="Loyalty points", build=_lots)
REPORT = ReportSection(name="loyalty", title="Loyalty", order=80, build=_tiers)
