"""The report as plain data: its period and the one before, and every section that a plugin handed over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from crm_core.errors import CrmError
from crm_core.extend import ReportQuery, ReportSection
from crm_core.values import Bounds, Period, Unit, local_midnight

if TYPE_CHECKING:
    from crm_core import CRM

_WHOLE_UNITS: tuple[Unit, ...] = ("year", "quarter", "month", "week")


@attrs.frozen(kw_only=True)
class Report:
    """One report: sections by name with their title and data, in order."""

    title: str
    period: str
    made_at: datetime
    sections: tuple[tuple[str, str, Mapping[str, Any]], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON data."""
        sections = [{"name": name, "title": title, **data} for name, title, data in self.sections]
        made_at = self.made_at.isoformat(timespec="seconds")
        return {"title": self.title, "period": self.period, "made_at": made_at, "sections": sections}


def build_report(crm: CRM, *, period: str | Period | None = None, as_of: datetime | date | None = None) -> Report:
    """Build the report of a period (None: all time) as of an instant (None: now).

    A section that fails is shown with its error; the others stand.
    """
    now = as_of if isinstance(as_of, datetime) else crm.clock.now()
    if isinstance(as_of, date) and not isinstance(as_of, datetime):
        now = local_midnight(as_of + timedelta(days=1), crm.zone) - timedelta(microseconds=1)
    bounds = None
    if period is not None:
        symbolic = Period.parse(period) if isinstance(period, str) else period
        bounds = symbolic.resolve(crm.calendar, crm.zone, now)
    query = ReportQuery(crm=crm, period=bounds, previous=previous(crm, bounds), as_of=as_of)
    found: list[ReportSection] = [one.item for one in crm.host.collect("register_report_sections")]
    with crm.snapshot():
        sections = tuple(
            (one.name, one.title, _built(one, query)) for one in sorted(found, key=lambda one: (one.order, one.name))
        )
    directory = crm.settings.directory
    return Report(
        title=directory.name.replace("-", " ").replace("_", " ").title() if directory else "CRM",
        period=bounds.name if bounds else "all time",
        made_at=now.astimezone(crm.zone),
        sections=sections,
    )


def previous(crm: CRM, bounds: Bounds | None) -> Bounds | None:
    """Return the period of the same length just before: as many whole units of the calendar, else as many days."""
    if bounds is None or bounds.start is None or bounds.end is None:
        return None
    first, after = (at.astimezone(crm.zone).date() for at in (bounds.start, bounds.end))
    unit, length = _length(crm, first, after)
    before = crm.calendar.add(unit, first, -length)
    last = crm.calendar.add("day", first, -1)
    name = crm.calendar.name_of(unit, before) if length == 1 else f"{before.isoformat()}..{last.isoformat()}"
    return Bounds(local_midnight(before, crm.zone), bounds.start, name)


def _length(crm: CRM, first: date, after: date) -> tuple[Unit, int]:
    for unit in _WHOLE_UNITS:
        if crm.calendar.start_of(unit, first) == first:
            length, reached = 0, first
            while reached < after:
                length, reached = length + 1, crm.calendar.add(unit, reached, 1)
            if reached == after and length:
                return unit, length
    return "day", (after - first).days


def _built(section: ReportSection, query: ReportQuery) -> Mapping[str, Any]:
    try:
        return section.build(query)
    except CrmError as error:
        return {"notes": [f"This section is missing: {error.message}"]}
