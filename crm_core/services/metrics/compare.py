"""Before and after a day: pairs the rows of two windows, and says where a window is not whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import attrs

from crm_core.extend.metric import Metric
from crm_core.services.metrics.asking import MetricQuestion
from crm_core.services.metrics.results import Comparison, Result, number
from crm_core.services.metrics.spans import data_span
from crm_core.values import Bounds, from_micros


def compare(metrics: Sequence[Metric], questions: Mapping[str, MetricQuestion], rows: Sequence[Result]) -> list[Result]:
    """Return one row per metric, group and currency with its comparison; a window that is not whole is said."""
    compared: list[Result] = []
    for metric in metrics:
        question = questions[metric.name]
        before, after = question.buckets
        gaps = list(_gaps(metric, question, before, after))
        for row in _pairs(metric, rows, before, after):
            incomplete = "; ".join([*([row.incomplete] if row.incomplete else []), *gaps])
            compared.append(attrs.evolve(row, incomplete=incomplete or None))
    return compared


def _pairs(metric: Metric, rows: Sequence[Result], before: Bounds, after: Bounds) -> Iterator[Result]:
    sides: dict[tuple[object, ...], dict[Bounds, Result]] = {}
    for row in rows:
        if row.metric == metric.name and row.period is not None:
            key = (tuple(row.group.items()), row.currency)
            sides.setdefault(key, {})[row.period] = row
    for side in sides.values():
        first, second = side.get(before), side.get(after)
        shown = second or first
        assert shown is not None, "a pair has a row on one side at least"
        yield _compared(shown, first, second, Bounds(before.start, after.end, f"{before.name} and after"))


def _compared(shown: Result, first: Result | None, second: Result | None, window: Bounds) -> Result:
    nothing = Fraction(0) if shown.unit in ("count", "money") else None
    before = first.exact if first else nothing
    after = second.exact if second else nothing
    delta = after - before if before is not None and after is not None else None
    percent = delta / before * 100 if delta is not None and before else None
    undefined = shown.undefined
    if undefined is None and before is None:
        undefined = f"before: {first.undefined if first else 'no data'}"
    elif undefined is None and percent is None:
        undefined = "before is 0, so there is no percentage"
    parts = (None if part is None else number(part) for part in (before, after, delta, percent))
    comparison = Comparison(**dict(zip(("before", "after", "delta", "delta_percent"), parts, strict=True)))
    return attrs.evolve(shown, period=window, exact=after, undefined=undefined, comparison=comparison)


def _gaps(metric: Metric, question: MetricQuestion, before: Bounds, after: Bounds) -> Iterator[str]:
    span = data_span(metric, question)
    if span is None:
        return
    first, last = (from_micros(at).astimezone(question.crm.zone).date().isoformat() for at in span)
    if before.start_micros is not None and before.start_micros < span[0]:
        yield f"incomplete window: data starts {first}, after the window before begins"
    if after.end_micros is not None and span[1] < min(after.end_micros, question.as_of) < after.end_micros:
        yield f"incomplete window: data ends {last}, before the window after does"
