"""Sentences beside the numbers: what is in no period, and of an empty answer what would not be empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from crm_core.extend.metric import Metric
from crm_core.services.metrics.asking import MetricQuestion
from crm_core.services.metrics.fold import inside, is_divided
from crm_core.services.metrics.results import Result
from crm_core.services.metrics.spans import data_span, population
from crm_core.values import from_micros

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


def notes_on(metrics: Sequence[Metric], questions: Mapping[str, MetricQuestion], rows: Sequence[Result]) -> list[str]:
    """Return the notes on the rows of one call, each said once."""
    notes: dict[str, None] = {}
    for metric in metrics:
        mine = [row for row in rows if row.metric == metric.name]
        notes |= dict.fromkeys(_notes(metric, questions[metric.name], mine))
    return list(notes)


def rows_behind(metric: Metric, question: MetricQuestion, limit: int) -> tuple[int, tuple[int, ...]]:
    """Return how many rows a number is made of, and the ids of the first of them."""
    table, conditions = _rows(metric, question)
    if metric.time is not None:
        conditions += question.within(metric.time(question.tables))
    total = question.run(select(func.count(table.c.id)).where(*conditions))[0][0]
    first = question.run(select(table.c.id).where(*conditions).order_by(table.c.id).limit(limit))
    return int(total), tuple(row[0] for row in first)


def _rows(metric: Metric, question: MetricQuestion) -> tuple[Any, list[ColumnElement[bool]]]:
    """Return the table of the rows behind a metric, and their conditions, the caller's filter where it is on it."""
    table = question.tables[question.crm.registry.named(metric.rows or metric.base).plural]
    filters = [] if metric.rows else question.filters(metric.base)
    return table, [*population(metric, question), *filters]


def _notes(metric: Metric, question: MetricQuestion, rows: Sequence[Result]) -> Iterator[str]:
    if _is_empty(metric, rows):
        yield _what_is_there(metric, question)
    else:
        yield from _undated(metric, question)


def _is_empty(metric: Metric, rows: Sequence[Result]) -> bool:
    if any(row.excluded for row in rows):
        return False
    return not any(row.denominator if is_divided(metric) else row.numerator for row in rows)


def _undated(metric: Metric, question: MetricQuestion) -> Iterator[str]:
    if metric.time is None or (question.start is None and question.end is None):
        return
    table, conditions = _rows(metric, question)
    undated = metric.time(question.tables).is_(None)
    count = question.run(select(func.count(table.c.id)).where(undated, *conditions))[0][0]
    if count:
        yield f"{metric.label}: {count:,} {metric.subject} have no date and are in no period"


def _what_is_there(metric: Metric, question: MetricQuestion) -> str:
    bucket = question.buckets[0] if len(question.buckets) == 1 else None
    where = f" {inside(bucket.name)}" if bucket and (bucket.start or bucket.end) else ""
    none = f"No {metric.subject}{where}"
    filtered = f" match {question.where!r}" if question.where else ""
    span = data_span(metric, question)
    if span is None:
        return (
            f"{none}{filtered}; there are no {metric.subject} yet" if metric.time is not None else f"{none}{filtered}"
        )
    first, last = (_day(question, at) for at in span)
    calendar: Any = question.crm.calendar
    quarter = calendar.name_of("quarter", last)
    if question.start is not None and question.start > span[1]:
        return f"{none}{filtered}; data ends {last.isoformat()}; try --period {quarter}"
    if question.end is not None and question.end <= span[0]:
        return f"{none}{filtered}; data starts {first.isoformat()}; try --period {calendar.name_of('quarter', first)}"
    return f"{none}{filtered}; data goes from {first.isoformat()} to {last.isoformat()}"


def _day(question: MetricQuestion, micros: int) -> date:
    return from_micros(micros).astimezone(question.crm.zone).date()
