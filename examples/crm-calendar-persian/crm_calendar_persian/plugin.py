"""What crm-calendar-persian hands over."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import CalendarSystem


class PersianCalendarPlugin:
    """One calendar."""

    @hookimpl
    def register_calendars(self) -> Iterable[CalendarSystem]:
        """Hand over the calendar, to be chosen by `calendar = "persian"`."""
        from crm_calendar_persian.calendar import PersianCalendar

        return [CalendarSystem(name="persian", label="Persian solar", calendar=PersianCalendar())]


plugin = PersianCalendarPlugin()
