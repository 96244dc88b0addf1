"""Declared metrics as selects: one scan for those of one base, time and where; equal expressions computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import operators, visitors

from crm_core.errors import PluginError
from crm_core.extend.metric import Cell, Measure, Metric
from crm_core.services.metrics.asking import Ask, MetricQuestion

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from crm_core.extend.metric import Expression

_DIALECT = sqlite.dialect()


def scan(metrics: Iterable[Metric], ask: Ask) -> dict[str, list[Measure]]:
    """Return the measures of declared metrics by name."""
    found: dict[str, list[Measure]] = {}
    for together in _scans(metrics, ask):
        found |= _measures(together, ask(together[0]))
    return found


def sql_text(statement: Any) -> str:
    """Return a statement or expression as SQLite's SQL with its values: for people, and to tell expressions apart."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def _scans(metrics: Iterable[Metric], ask: Ask) -> Iterator[list[Metric]]:
    groups: dict[tuple[Any, ...], list[Metric]] = {}
    for metric in metrics:
        question = ask(metric)
        words = [_text(question, part) for part in (metric.time, metric.where)]
        groups.setdefault((metric.base, question.by, *words), []).append(metric)
    for group in groups.values():
        currencies: dict[str, list[Metric]] = {}
        for metric in group:
            currencies.setdefault(_text(ask(metric), metric.currency), []).append(metric)
        without = currencies.pop("", [])
        if not currencies:
            yield without
        for metrics_of_one in currencies.values():
            yield [*metrics_of_one, *without]
            without = []


def _text(question: MetricQuestion, part: Expression | None) -> str:
    return sql_text(part(question.tables)) if part else ""


def _measures(metrics: Sequence[Metric], question: MetricQuestion) -> dict[str, list[Measure]]:
    tables, together = question.tables, metrics[0]
    columns: dict[str, ColumnElement[Any]] = {}
    places: dict[str, dict[str, int]] = {}
    for metric in metrics:
        texts = {name: _checked(metric, part(tables)) for name, part in _parts(metric).items()}
        for name, part in _parts(metric).items():
            columns.setdefault(texts[name], part(tables))
        order = list(columns)
        places[metric.name] = {name: order.index(text) for name, text in texts.items()}
    cells = question.cells(
        list(columns.values()),
        where=[together.where(tables)] if together.where else [],
        time=together.time(tables) if together.time else None,
        currency=together.currency(tables) if together.currency else None,
    )
    return {m.name: [_measure(m, cell, places[m.name]) for cell in cells] for m in metrics}


def _measure(metric: Metric, cell: Cell, places: Mapping[str, int]) -> Measure:
    found = {name: cell.values[place] for name, place in places.items()}
    shared = cell if metric.currency else attrs.evolve(cell, currency=None)
    return shared.measure(
        numerator=found["numerator"],
        denominator=found.get("denominator", 0),
        excluded={name: found[f"excluded {name}"] for name in metric.excluded},
        flagged={name: found[f"flagged {name}"] for name in metric.flagged},
    )


def _parts(metric: Metric) -> dict[str, Expression]:
    parts: dict[str, Expression] = {}
    if metric.numerator:
        parts["numerator"] = metric.numerator
    if metric.denominator:
        parts["denominator"] = metric.denominator
    parts |= {f"excluded {name}": part for name, part in metric.excluded.items()}
    return parts | {f"flagged {name}": part for name, part in metric.flagged.items()}


def _checked(metric: Metric, expression: ColumnElement[Any]) -> str:
    for node in visitors.iterate(expression):
        if getattr(node, "operator", None) is operators.distinct_op:
            raise PluginError(
                f"metric {metric.name!r} counts DISTINCT values in an expression, which cannot be added up over groups",
                hint="declare it with compute= and select the count there",
            )
    return sql_text(expression)
