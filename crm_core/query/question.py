"""What metrics and segments are asked with: a period, "now", policies, customer units and exchange rates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import func, literal, or_, select

from crm_core.errors import UsageError
from crm_core.query.functions import periods
from crm_core.query.policies import WORKS_FOR, Policies
from crm_core.values import Bounds, Period, exponent, from_micros, local_midnight, to_micros

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause, Select

    from crm_core.query.tables import Tables

T = TypeVar("T")
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EVER: Final = 2**62
"""Microseconds beyond any date there is."""


class Question:
    """One question to a CRM, for some buckets of time as of some instant; what is asked twice is computed once."""

    def __init__(
        self,
        crm: Any,
        buckets: Sequence[Bounds],
        now: datetime,
        memory: dict[Hashable, Any] | None = None,
        known: set[Hashable] | None = None,
        *,
        until_now: bool = False,
    ) -> None:
        self.crm = crm
        self.tables: Tables = crm.tables
        self.policies = Policies.of(crm.settings.policies)
        self.buckets = tuple(buckets)
        self.start = self.buckets[0].start_micros
        self.end = self.buckets[-1].end_micros
        self.now = now
        self.as_of = to_micros(now)
        self.unknown_from = self.as_of + 1 if until_now else None
        """The instant from which on nothing is known yet, when "now" is a moment of the past; else None."""
        self.known: set[Hashable] = set() if known is None else known
        """What was learned of the data that may speed up the next question, and would not make it wrong."""
        self._memory = {} if memory is None else memory

    @property
    def reporting_currency(self) -> str | None:
        """The currency that all amounts are turned into, None when the workspace has none."""
        found: str | None = self.crm.settings.reporting_currency
        return found

    @cached_property
    def today(self) -> date:
        """The local day of "now"."""
        return self.now.astimezone(self.crm.zone).date()

    def run(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select; the memory keeps it under "statements", to explain the answer by."""
        self._memory.setdefault("statements", []).append(select)
        rows: list[tuple[Any, ...]] = self.crm.run(select)
        return rows

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gives, computed once."""
        if key not in self._memory:
            self._memory[key] = make()
        found: T = self._memory[key]
        return found

    def within(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        """Return the conditions that keep a moment inside the period, and before what is unknown yet."""
        conditions = []
        if self.start is not None:
            conditions.append(column >= self.start)
        ends = [end for end in (self.end, self.unknown_from) if end is not None]
        if ends:
            conditions.append(column < min(ends))
        return conditions

    def bucket(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the number of the bucket that a moment inside the period lies in."""
        if len(self.buckets) == 1:
            return literal(0)
        edges = [bucket.start_micros for bucket in self.buckets] + [self.end]
        return periods(column, [edge for edge in edges if edge is not None])

    def instant(self, bucket: Bounds) -> int:
        """Return the instant at which a stock of the bucket is taken: its end, or "now" when that comes first."""
        end = bucket.end_micros
        return self.as_of if end is None else min(end, self.as_of)

    def days_before(self, micros: int, days: int) -> int:
        """Return the instant so many calendar days earlier, in the workspace's time zone."""
        local = from_micros(micros).astimezone(self.crm.zone)
        return to_micros(local - timedelta(days=days))

    @cached_property
    def counts_organisations(self) -> bool:
        """Whether some person now works for an organisation that counts in their place."""
        if self.policies.customer_unit != "organisation":
            return False
        relations = self.tables.relations
        return bool(self.run(select(relations.c.id).where(*self._works_for()).limit(1)))

    @cached_property
    def doubtful_until(self) -> int | None:
        """The instant up to which a first purchase may have had forerunners; None without dated sales."""
        start = self.policies.history_starts_on
        if start is None:
            sales = self.tables.sales
            dated = select(sales.c.sold_at).where(sales.c.sold_at.is_not(None)).order_by(sales.c.sold_at).limit(1)
            found = self.run(dated)
            if not found:
                return None
            start = from_micros(found[0][0]).astimezone(self.crm.zone).date()
        return to_micros(
            local_midnight(self.crm.calendar.add("month", start, self.policies.history_months), self.crm.zone)
        )

    def unit_of(self, source: FromClause, column: ColumnElement[Any]) -> tuple[FromClause, ColumnElement[Any]]:
        """Return `source` and the column of the customer who counts for the customer id in `column`."""
        if not self.counts_organisations:
            return source, column
        relations = self.tables.relations
        employers = (
            select(relations.c.customer_id, func.min(relations.c.other_id).label("unit_id"))
            .where(*self._works_for())
            .group_by(relations.c.customer_id)
            .subquery()
        )
        joined = source.outerjoin(employers, employers.c.customer_id == column)
        return joined, func.coalesce(employers.c.unit_id, column)

    def _works_for(self) -> list[ColumnElement[bool]]:
        relations = self.tables.relations
        today = self.today.toordinal() - _EPOCH_DAY
        return [
            relations.c.kind.in_(WORKS_FOR),
            or_(relations.c.until_on.is_(None), relations.c.until_on > today),
            or_(relations.c.from_on.is_(None), relations.c.from_on <= today),
        ]

    @cached_property
    def _rate_days(self) -> list[date]:
        if self.policies.exchange_date == "as_of":
            return []
        if not self.crm.host.implements("choose_exchange_rate"):
            return sorted(self.crm.settings.rates)
        first = self.start if self.start is not None else self._first_sale()
        last = self.as_of if self.end is None else self.end
        days = (last - first) // 86_400_000_000 + 2
        start = from_micros(first).astimezone(self.crm.zone).date()
        return [start + timedelta(days=n) for n in range(max(days, 1))]

    def _first_sale(self) -> int:
        sales = self.tables.sales
        found = self.run(select(func.min(sales.c.sold_at)))
        return self.as_of if not found or found[0][0] is None else int(found[0][0])

    @property
    def has_intervals(self) -> bool:
        """Whether exchange rates differ by the day of the sale."""
        return bool(self._rate_days)

    def interval(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the number of the stretch of days with one exchange rate that a moment lies in."""
        if not self._rate_days:
            return literal(0)
        edges = [to_micros(local_midnight(day, self.crm.zone)) for day in self._rate_days]
        return periods(column, [-_EVER, *edges, _EVER])

    def rate(self, currency: str, interval: int) -> Fraction:
        """Return what one minor unit of `currency` is worth in minor units of the reporting currency in that stretch.

        Raises:
            UsageError: there is no rate; the message names currency and day.
        """
        days = self._rate_days
        if self.policies.exchange_date == "as_of":
            return self.rate_on(currency, self.today)
        if days and interval > 0:
            return self.rate_on(currency, days[min(interval, len(days)) - 1])
        return self.rate_on(currency, days[0] - timedelta(days=1) if days else self.today)

    def rate_on(self, currency: str, day: date) -> Fraction:
        """Return what one minor unit of `currency` is worth in minor units of the reporting currency on a day."""
        reporting = self.reporting_currency
        assert reporting is not None, "rates are asked for only where there is a reporting currency"
        if currency == reporting:
            return Fraction(1)
        rate = self.once(("rate", currency, day), lambda: self.crm.exchange_rate(currency, reporting, day))
        if rate is None:
            raise UsageError(
                f"no exchange rate from {currency} to {reporting} on {day.isoformat()}",
                hint=f'add it to crm.toml: [rates] "{day.isoformat()}" = {{{currency} = "..."}}',
            )
        return Fraction(rate) * Fraction(10) ** (exponent(reporting) - exponent(currency))


def moment_of(crm: Any, as_of: datetime | date | None) -> datetime:
    """Return the instant that counts as "now": the clock's when None is given; of a day its last microsecond."""
    if as_of is None:
        now: datetime = crm.clock.now()
        return now
    if isinstance(as_of, datetime):
        return from_micros(to_micros(as_of))
    return local_midnight(as_of + timedelta(days=1), crm.zone) - timedelta(microseconds=1)


def bounds_of(crm: Any, period: str | Period | Bounds | None, now: datetime, *, until_now: bool) -> Bounds | None:
    """Return the stretch of time that a period stands for, in the workspace's calendar and zone; None for all time.

    With `until_now` all time ends with now, because nothing after it is known yet.
    """
    if period is None:
        return (
            Bounds(None, now + timedelta(microseconds=1), f"until {now.astimezone(crm.zone).date()}")
            if until_now
            else None
        )
    if isinstance(period, Bounds):
        return period
    symbolic = Period.parse(period) if isinstance(period, str) else period
    bounds = symbolic.resolve(crm.calendar, crm.zone, now)
    if bounds.start is None and bounds.end is None:
        return bounds_of(crm, None, now, until_now=until_now)
    return in_zone(bounds, crm.zone)


def in_zone(bounds: Bounds, zone: Any) -> Bounds:
    """Return the same stretch of time with its ends written in a time zone."""

    def local(at: datetime | None) -> datetime | None:
        return None if at is None else at.astimezone(zone)

    return Bounds(local(bounds.start), local(bounds.end), bounds.name)
