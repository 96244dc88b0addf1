"""From when to when there is data behind a number: inside, nothing sold is 0; beyond, nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from crm_core.extend.metric import Metric
from crm_core.services.metrics.asking import MetricQuestion
from crm_core.values import Bounds

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


def data_span(metric: Metric, question: MetricQuestion) -> tuple[int, int] | None:
    """Return the first and last moment of the rows a metric is made of, in microseconds; None when none is dated."""
    if metric.span is not None:
        return metric.span(question)
    if metric.time is None:
        return None
    time = metric.time(question.tables)
    dated = select(time).where(time.is_not(None), *population(metric, question))
    # One row at each end of an index, where MIN and MAX in one select would read all of it.
    ends: list[Any] = [question.run(dated.order_by(order).limit(1)) for order in (time.asc(), time.desc())]
    return (int(ends[0][0][0]), int(ends[1][0][0])) if ends[0] else None


def population(metric: Metric, question: MetricQuestion) -> list[ColumnElement[bool]]:
    """Return the metric's own condition on its rows, if it has one."""
    return [metric.where(question.tables)] if metric.where else []


def is_beyond(metric: Metric, question: MetricQuestion, bucket: Bounds) -> bool:
    """Whether a bucket lies outside the data, so that nothing found there does not mean that there was nothing.

    A comparison with data on one side starts from 0 on the other, and says in words that its window is not whole.
    """
    if metric.time is None:
        return False
    span = question.once(("span", metric.name), lambda: data_span(metric, question))
    if span is None:
        return True
    asked = question.buckets if question.compared else (bucket,)
    return all(_is_outside(each, span) for each in asked)


def _is_outside(bucket: Bounds, span: tuple[int, int]) -> bool:
    ended = bucket.end_micros is not None and bucket.end_micros <= span[0]
    return ended or (bucket.start_micros is not None and bucket.start_micros > span[1])
