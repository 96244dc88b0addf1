"""`crm.metrics`: finds metrics by name, computes several together, compares around a day, explains a number."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import attrs

from crm_core.errors import UsageError
from crm_core.extend.metric import Measure, Metric
from crm_core.query.bind import close_matches
from crm_core.query.question import bounds_of, in_zone, moment_of
from crm_core.services.metrics.asking import Asked, MetricQuestion
from crm_core.services.metrics.compare import compare
from crm_core.services.metrics.fold import fold
from crm_core.services.metrics.notes import notes_on, rows_behind
from crm_core.services.metrics.results import Explanation, Result, Results
from crm_core.services.metrics.scan import scan, sql_text
from crm_core.services.metrics.spans import data_span
from crm_core.values import UNITS, Bounds, Period, Unit, around, ascii_digits, buckets, from_micros, local_midnight

ALL_TIME: Final = Bounds(None, None, "all time")
_MOST_BUCKETS: Final = 5_000


@attrs.frozen(kw_only=True)
class _Call:
    """The options of one call of `compute`."""

    period: str | Period | Bounds | None = None
    by: tuple[str, ...] = ()
    series: str | None = None
    where: str | None = None
    as_of: datetime | date | None = None
    around: str | date | None = None
    months: int = 6


class MetricService:
    """The metrics of one CRM, those of its plugins by name."""

    def __init__(self, crm: Any) -> None:
        self._crm = crm
        self._known: set[Hashable] = set()

    def all(self) -> list[Metric]:
        """Return every metric, by name."""
        return sorted((found.item for found in self._crm.host.collect("register_metrics")), key=lambda m: m.name)

    def get(self, name: str) -> Metric:
        """Return the metric of that name or alias.

        Raises:
            UsageError: there is none; the hint names close matches.
        """
        wanted = name.strip().casefold().replace("-", "_")
        for metric in self.all():
            if wanted == metric.name or wanted in metric.aliases:
                return metric
        names = [metric.name for metric in self.all()]
        hint = close_matches(wanted, names, "metrics") if names else "install one that has metrics: pip install crm-kpi"
        raise UsageError(f"there is no metric {name!r}", hint=hint)

    def compute(
        self,
        name_or_names: str | Sequence[str],
        *,
        period: str | Period | Bounds | None = None,
        by: str | Sequence[str] | None = None,
        series: str | None = None,
        where: str | None = None,
        as_of: datetime | date | None = None,
        around: str | date | None = None,
        months: int = 6,
    ) -> Results:
        """Compute metrics.

        Args:
            name_or_names: one name or several; metrics of one base are computed in one scan.
            period: a period or its text ("2017-Q2", "last 90 days"); None is all time.
            by: one dimension or several, such as "owner", "team", "country", or a field of the team's own.
            series: a unit of the calendar ("month"): one row per bucket of it.
            where: a filter on the records the metric is made of.
            as_of: what counts as "now"; a day counts as its end.
            around: a day; the months before it are compared with those from it on.
            months: how many months each side of that comparison has.

        Raises:
            UsageError: an unknown metric or dimension, or options that exclude each other.
        """
        names = [name_or_names] if isinstance(name_or_names, str) else name_or_names
        call = _Call(
            period=period,
            by=(by,) if isinstance(by, str) else tuple(by or ()),
            series=series,
            where=where,
            as_of=as_of,
            around=around,
            months=months,
        )
        return self._answered(names, call)[0]

    def explain(
        self,
        name: str,
        *,
        period: str | Period | Bounds | None = None,
        by: str | Sequence[str] | None = None,
        where: str | None = None,
        as_of: datetime | date | None = None,
        rows: int = 10,
    ) -> Explanation:
        """Return how a number comes about; the options are those of `compute`, `rows` is how many ids to name."""
        found = self._collected(self.get(name).name)
        metric: Metric = found.item
        call = _Call(period=period, by=(by,) if isinstance(by, str) else tuple(by or ()), where=where, as_of=as_of)
        results, statements = self._answered([metric.name], call)
        behind = self._question(metric, attrs.evolve(self._asked([metric], call), by=()), {})
        total, ids = rows_behind(metric, behind, rows)
        return Explanation(
            metric=metric.name,
            label=metric.label,
            formula=metric.formula,
            population=metric.population,
            traps=metric.traps,
            example=metric.example,
            plugin=found.plugin,
            distribution=found.distribution,
            version=found.version,
            policy=behind.policies.shown(metric.policies),
            statements=tuple(map(sql_text, statements)),
            row_type=metric.rows or metric.base,
            rows=total,
            row_ids=ids,
            results=results,
        )

    def _collected(self, name: str) -> Any:
        return next(found for found in self._crm.host.collect("register_metrics") if found.item.name == name)

    def _question(self, metric: Metric, asked: Asked, memory: dict[Hashable, Any]) -> MetricQuestion:
        return MetricQuestion(self._crm, metric, asked, memory, self._known)

    def _answered(self, names: Sequence[str], call: _Call) -> tuple[Results, list[Any]]:
        """Return the results of a call, and the statements that ran."""
        metrics = list({metric.name: metric for metric in map(self.get, names)}.values())
        asked = self._asked(metrics, call)
        memory: dict[Hashable, Any] = {}
        questions = {metric.name: self._question(metric, asked, memory) for metric in metrics}
        with self._crm.snapshot():
            rows = self._rows(metrics, questions)
            notes = notes_on(metrics, questions, rows)
            if call.around is not None:
                rows = compare(metrics, questions, rows)
        return Results(tuple(rows), tuple(notes)), memory.get("statements", [])

    def _asked(self, metrics: Sequence[Metric], call: _Call) -> Asked:
        now = moment_of(self._crm, call.as_of)
        asked = Asked(by=call.by, where=call.where, now=now, present=call.as_of is None)
        if call.around is not None:
            if call.period is not None or call.series is not None:
                raise UsageError("a comparison around a day has its own period", hint="leave out period and series")
            return attrs.evolve(asked, buckets=self._windows(call.around, call.months), compared=True)
        bounds = bounds_of(self._crm, call.period, now, until_now=call.as_of is not None)
        asked = attrs.evolve(asked, buckets=(bounds or ALL_TIME,))
        if call.series is None:
            return asked
        return attrs.evolve(asked, buckets=self._series(metrics, asked, call.series))

    def _rows(self, metrics: Sequence[Metric], questions: Mapping[str, MetricQuestion]) -> list[Result]:
        found: dict[str, list[Measure]] = scan([m for m in metrics if not m.compute], lambda m: questions[m.name])
        for metric in metrics:
            if metric.compute:
                found[metric.name] = list(metric.compute(questions[metric.name]))
        return [row for metric in metrics for row in fold(metric, questions[metric.name], found[metric.name])]

    def _windows(self, day: str | date, months: int) -> tuple[Bounds, ...]:
        if isinstance(day, str):
            named = self._crm.calendar.parse(ascii_digits(day.strip()))
            if named is None:
                raise UsageError(f"{day!r} is no day", hint="write it as 2017-06-01")
            middle = named[0]
        else:
            middle = day
        windows = around(middle, months, calendar=self._crm.calendar, zone=self._crm.zone)
        return tuple(in_zone(window, self._crm.zone) for window in windows)

    def _series(self, metrics: Sequence[Metric], asked: Asked, unit: str) -> tuple[Bounds, ...]:
        if unit not in UNITS:
            raise UsageError(f"a series goes by {', '.join(UNITS)}, not by {unit!r}")
        outer = asked.buckets[0]
        if outer.start is None or outer.end is None:
            outer = self._closed(metrics, asked, unit)
        cut = buckets(outer, unit, self._crm.calendar, self._crm.zone)
        if not 0 < len(cut) <= _MOST_BUCKETS:
            raise UsageError(f"{outer.name} has {len(cut):,} {unit}s; a series shows 1 to {_MOST_BUCKETS:,}")
        return tuple(in_zone(bucket, self._crm.zone) for bucket in cut)

    def _closed(self, metrics: Sequence[Metric], asked: Asked, unit: Unit) -> Bounds:
        """Return an open period with its open ends closed by whole units, from the first to the last that has data."""
        calendar, zone, outer = self._crm.calendar, self._crm.zone, asked.buckets[0]
        questions = [self._question(metric, asked, {}) for metric in metrics]
        spans = [data_span(metric, question) for metric, question in zip(metrics, questions, strict=True)]
        moments = [at for span in spans if span for at in span] or [questions[0].as_of]
        first, last = min(moments), max(moments)
        until = None if outer.end_micros is None else outer.end_micros - 1
        if outer.start_micros is not None:
            first, last = outer.start_micros, max(outer.start_micros, last)
        if until is not None:
            first, last = min(first, until), until
        days = [from_micros(at).astimezone(zone).date() for at in (first, last)]
        start, after = calendar.start_of(unit, days[0]), calendar.add(unit, calendar.start_of(unit, days[1]), 1)
        whole_end = outer.end is None or until == questions[0].as_of
        return Bounds(
            outer.start or local_midnight(start, zone),
            local_midnight(after, zone) if whole_end else outer.end,
            outer.name,
        )
