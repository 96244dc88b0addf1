"""Metrics, calendars and report sections: what a plugin hands over so that a number can be computed and shown."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import attrs

from crm_core.values import Bounds, Calendar

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, FromClause, Select

    from crm_core.query.policies import Policies
    from crm_core.query.tables import Tables

    Expression = Callable[[Tables], ColumnElement[Any]]

T = TypeVar("T")
Unit = Literal["ratio", "money", "count", "days", "money_per_day"]
MetricKind = Literal["flow", "ratio", "stock", "cohort", "derived"]
Direction = Literal["up", "down", "none"]


@attrs.frozen(kw_only=True)
class Metric:
    """A number with a name: either expressions over one base table, or a Python callable.

    Declared by expressions, `numerator` (and `denominator`, for a ratio) are integer aggregates over the rows of
    `base` (a record type) that satisfy `where` and whose `time` lies in the period; metrics of one base, time and
    where are computed in one scan. Declared by `compute`, the callable receives a `MetricQuery` and yields
    `Measure`s. `base` says whose dimensions and filters apply; `time` and `where` are of the rows behind the number,
    of the record type `rows` where that is another one.

    `currency` is the column of the currency; with it there is one result per currency. `per_pipeline` numbers never mix
    pipelines: where there are several, each has its own. `intrinsic` dimensions are always grouped by. `excluded` and
    `flagged` count rows by reason: those left out, and those counted but doubtful. `undefined_when` receives numerator,
    denominator and these counts by name, and says why there is no value, or "".

    `span` gives the first and last moment that a number over all time reaches to, where `time` alone does not say.

    `formula`, `population` and `traps` are words for people, `subject` names what is missing in an empty answer
    ("closed deals"), `example` is a worked number, `policies` names the settings that the number depends on.
    """

    name: str
    label: str
    unit: Unit
    kind: MetricKind
    formula: str
    population: str
    subject: str = "rows"
    traps: str = ""
    example: str = ""
    source: str = ""
    direction: Direction = "up"
    base: str
    rows: str = ""
    time: Expression | None = None
    where: Expression | None = None
    numerator: Expression | None = None
    denominator: Expression | None = None
    numerator_unit: Unit | None = None
    denominator_unit: Unit = "count"
    currency: Expression | None = None
    per_pipeline: bool = False
    intrinsic: tuple[str, ...] = ()
    excluded: Mapping[str, Expression] = attrs.field(factory=dict)
    flagged: Mapping[str, Expression] = attrs.field(factory=dict)
    undefined_when: Callable[[Mapping[str, int]], str] | None = None
    policies: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    compute: Callable[[MetricQuery], Iterable[Measure]] | None = None
    span: Callable[[MetricQuery], tuple[int, int] | None] | None = None


@attrs.frozen(kw_only=True)
class Measure:
    """One computed cell; the engine adds up the cells of one group, bucket and currency.

    `group` holds the keys of `MetricQuery.by` in order. Money is in minor units of `currency`, durations in
    microseconds. `interval` is the number of the stretch of days with one exchange rate (`MetricQuery.interval`).
    `undefined` says why there is no value, `incomplete` why the window is not whole.
    """

    group: tuple[Any, ...] = ()
    bucket: int = 0
    currency: str | None = None
    interval: int = 0
    numerator: int | Fraction = 0
    denominator: int | Fraction = 0
    undefined: str = ""
    incomplete: str = ""
    excluded: Mapping[str, int] = attrs.field(factory=dict)
    flagged: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Cell:
    """Aggregates of one group, bucket, currency and stretch of one exchange rate; what was NULL is 0."""

    group: tuple[Any, ...] = ()
    also: tuple[Any, ...] = ()
    bucket: int = 0
    currency: str | None = None
    interval: int = 0
    values: tuple[int, ...]

    def measure(self, **parts: Any) -> Measure:
        """Return a measure of this group, bucket, currency and stretch."""
        return Measure(group=self.group, bucket=self.bucket, currency=self.currency, interval=self.interval, **parts)


class MetricQuery(Protocol):
    """What a metric's `compute` receives: the question, and building blocks to answer it with SQL of the closed set.

    `by` are the dimensions asked for, intrinsic ones included; `buckets` the stretches of time to answer for, one
    after the other (a single one without `series`); `start` and `end` their outer bounds in microseconds, None where
    open; `as_of` is "now" in microseconds. Where "now" is a moment of the past, nothing is known from `unknown_from`
    on; else that is None.
    """

    metric: Metric
    tables: Tables
    policies: Policies
    by: tuple[str, ...]
    buckets: tuple[Bounds, ...]
    start: int | None
    end: int | None
    as_of: int
    unknown_from: int | None
    where: str | None
    crm: Any

    def run(self, select: Select[Any]) -> list[tuple[Any, ...]]:
        """Run an analytic select; `explain` shows it."""

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what `make` gives, computed once for all metrics of one call."""

    def cells(
        self,
        columns: Sequence[ColumnElement[Any]],
        *,
        base: str = "",
        source: FromClause | None = None,
        where: Sequence[ColumnElement[bool]] = (),
        time: ColumnElement[Any] | None = None,
        currency: ColumnElement[Any] | None = None,
        also: Sequence[ColumnElement[Any]] = (),
        instead: Mapping[str, ColumnElement[Any]] = MappingProxyType({}),
    ) -> list[Cell]:
        """Select integer aggregates by dimension, bucket of `time` and `currency`; the caller's `where` applies.

        `base` is the record type that has dimensions and filter (the metric's own by default), `source` a join that
        holds its table, `time` keeps the rows inside the period. `also` are further keys (`Cell.also`); `instead`
        gives the column of a dimension that the base does not have as such.
        """

    def joined(self, base: str, source: FromClause | None = None) -> tuple[FromClause, list[ColumnElement[Any]]]:
        """Return `base`'s table (or `source`, which holds it) joined as `by` needs, and a column per dimension."""

    def filters(self, base: str) -> list[ColumnElement[bool]]:
        """Return the conditions of the caller's `where` on `base`, to be put into a select."""

    def within(self, column: ColumnElement[Any]) -> list[ColumnElement[bool]]:
        """Return the conditions that keep a moment inside the period."""

    def bucket(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the number of the bucket that a moment inside the period lies in."""

    def interval(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the number of the stretch of days with one exchange rate that a moment lies in."""

    def rate(self, currency: str, interval: int) -> Fraction:
        """Return what one minor unit of `currency` is worth in minor units of the reporting currency in that stretch.

        Raises:
            UsageError: there is no rate; the message names currency and day.
        """

    def unit_of(self, source: FromClause, column: ColumnElement[Any]) -> tuple[FromClause, ColumnElement[Any]]:
        """Return `source` and the column of who counts for the customer in `column`, by the policy `customer_unit`."""

    @property
    def reporting_currency(self) -> str | None:
        """The currency that all amounts are turned into, None when the workspace has none."""

    @property
    def counts_organisations(self) -> bool:
        """Whether some person now works for an organisation that counts in their place."""

    @property
    def doubtful_until(self) -> int | None:
        """The instant up to which a first purchase may have had forerunners; None without dated sales."""

    def instant(self, bucket: Bounds) -> int:
        """Return the instant at which a stock of the bucket is taken: its end, or "now" when that comes first."""

    def is_present(self, bucket: Bounds) -> bool:
        """Return whether a stock of the bucket is taken now, and not at a moment of the past."""

    def days_before(self, micros: int, days: int) -> int:
        """Return the instant so many calendar days earlier, in the workspace's time zone."""


@attrs.frozen(kw_only=True)
class CalendarSystem:
    """A calendar by name, for `calendar = "<name>"` in `crm.toml`."""

    name: str
    label: str
    calendar: Calendar


@attrs.frozen(kw_only=True)
class ReportQuery:
    """What a report section is built from: the open CRM, the period of the report and the one before, and "now"."""

    crm: Any
    period: Bounds | None
    previous: Bounds | None
    as_of: Any


@attrs.frozen(kw_only=True)
class ReportSection:
    """A part of `crm report`: `build` receives a `ReportQuery` and returns plain data to show.

    The data is a mapping with `notes` (sentences) and any of `tiles` (label, text, detail, trend), `table` (columns,
    rows) and `charts` (kind: "columns" or "bars"; title; labels; values; texts).
    """

    name: str
    title: str
    order: int
    build: Callable[[ReportQuery], Mapping[str, Any]]


@attrs.frozen(kw_only=True)
class ProfileSection:
    """A part of a customer's 360 view: `build(event)` receives a `ProfileWanted` and returns rows of plain data."""

    name: str
    title: str
    build: Callable[[Any], list[Mapping[str, Any]]]
