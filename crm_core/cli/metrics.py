"""`crm metrics`: the numbers, how they change, and how each of them comes about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from crm_core.console import (
    MISSING,
    Column,
    Number,
    as_of_option,
    by_option,
    emit,
    examples,
    heading,
    instant,
    note,
    pairs,
    period_option,
    plural,
    reading_options,
    say,
    session,
    table,
    where_option,
    workspace,
)
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core.extend import Metric
    from crm_core.services.metrics import Explanation, Result, Results

_WHERE: Final = """Only rows that match, such as 'source = "web"'."""
_UNITS = click.Choice(["day", "week", "month", "quarter", "year"])
_TEXT_COLUMNS = frozenset({"metric", "period", "currency", "why undefined"})


@click.group()
def metrics() -> None:
    """Compute KPIs: one name, one number."""


@metrics.command("list", epilog=examples("crm metrics list", "crm metrics list --json"))
def list_() -> None:
    """List the metrics there are, by name."""
    with workspace() as crm:
        found = sorted(crm.metrics.all(), key=lambda metric: metric.name)

        def show() -> None:
            rows = [[metric.name, metric.label, metric.unit, metric.formula] for metric in found]
            table(["name", "label", "unit", Column("formula", fit="wrap")], rows)
            if not found:
                say("No metric is installed; pip install crm-kpi brings win rate, revenue, churn and more.")

        emit([_metric_json(metric) for metric in found], show)


@metrics.command(
    epilog=examples(
        "crm metrics show win_rate",
        "crm metrics show revenue win_rate --period 2017-Q2 --by owner",
        "crm metrics show revenue --series month --period 2017",
        "crm metrics show win_rate --around 2017-06-01 --by team --json",
    )
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@period_option
@by_option
@click.option("--series", type=_UNITS, help="One value a unit of the period.")
@click.option("--around", metavar="DAY", help="Equal stretches before and after a day, and how they differ.")
@where_option(_WHERE)
@as_of_option
def show(
    names: tuple[str, ...],
    period: str | None,
    by: list[str] | None,
    series: str | None,
    around: str | None,
    where: str | None,
    as_of: str | None,
) -> None:
    """Show metrics: value, parts, what was left out, and the policies applied."""
    with workspace(as_of=as_of) as crm, reading_options():
        results = crm.metrics.compute(
            list(names),
            period=period,
            by=by,
            series=series,
            around=around,
            where=where,
            as_of=instant(as_of, crm.zone) if as_of else None,
        )
        emit(results.to_json(), lambda: _show_results(results))
        if session().json:  # the document is the rows alone
            for text in results.notes:
                note(text)


@metrics.command(
    epilog=examples("crm metrics explain win_rate", "crm metrics explain revenue --period 2017-Q2 --rows 20 --sql")
)
@click.argument("name")
@period_option
@by_option
@where_option(_WHERE)
@click.option("--rows", type=Number(0, 10_000), default=5, show_default=True, help="Rows behind the number to name.")
@click.option("--sql", is_flag=True, help="Print the SQL that ran.")
@as_of_option
def explain(
    name: str, period: str | None, by: list[str] | None, where: str | None, rows: int, sql: bool, as_of: str | None
) -> None:
    """Explain a metric: its formula, whose it is, its policies, and the rows behind the number."""
    with workspace(as_of=as_of) as crm, reading_options():
        found = crm.metrics.explain(
            name,
            period=period,
            by=by,
            where=where,
            as_of=instant(as_of, crm.zone) if as_of else None,
            rows=rows,
        )
        emit(_explanation_json(found), lambda: _show_explanation(found, sql))


def _show_results(results: Results) -> None:
    head, cells = results.table()
    if cells:
        columns = [
            Column(title, right=title not in _TEXT_COLUMNS and not _is_dimension(results, title)) for title in head
        ]
        table(columns, cells)
    for name, rows in _by_metric(results).items():
        for sentence in _remarks(rows):
            say(f"{name}: {sentence}")
    for text in results.notes:
        say(f"note: {text}")
    if not cells and not results.notes:
        say("Nothing to show: no row is in any group.")


def _by_metric(results: Results) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for row in results:
        found.setdefault(row.metric, []).append(row)
    return found


def _remarks(rows: list[Result]) -> list[str]:
    """Say what was left out of all rows of one metric, what is doubtful, and which policies were applied."""
    said = [f"{count:,} left out: {reason}" for reason, count in _summed([row.excluded for row in rows]).items()]
    said += [
        f"{count:,} counted, but doubtful: {reason}" for reason, count in _summed([row.flagged for row in rows]).items()
    ]
    said += list(dict.fromkeys(f"incomplete: {row.incomplete}" for row in rows if row.incomplete))
    policy = {name: value for row in rows for name, value in row.policy.items()}
    if policy:
        said.append("policies " + ", ".join(f"{name} = {value}" for name, value in policy.items()))
    return said


def _summed(counts: list[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for reason, count in one.items():
            total[reason] = total.get(reason, 0) + count
    return {reason: count for reason, count in total.items() if count}


def _is_dimension(results: Results, title: str) -> bool:
    return any(title in row.group for row in results)


def _show_explanation(found: Explanation, sql: bool) -> None:
    pairs(
        [
            ("metric", f"{found.label} ({found.metric})"),
            ("formula", found.formula),
            ("counts", found.population),
            ("beware", found.traps or MISSING),
            ("example", found.example or MISSING),
            ("from", f"{found.distribution} {found.version}"),
            ("policies", ", ".join(f"{name} = {value}" for name, value in found.policy.items()) or MISSING),
            ("rows behind it", plural(found.rows, found.row_type)),
        ]
    )
    if found.row_ids:
        say(f"the first of them: {' '.join(map(format_id, found.row_ids))}")
    heading("Value")
    _show_results(found.results)
    if sql:
        for statement in found.statements:
            heading("SQL")
            say(statement)


def _metric_json(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "label": metric.label,
        "unit": metric.unit,
        "kind": metric.kind,
        "direction": metric.direction,
        "formula": metric.formula,
        "population": metric.population,
        "aliases": list(metric.aliases),
    }


def _explanation_json(found: Explanation) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "label": found.label,
        "formula": found.formula,
        "population": found.population,
        "traps": found.traps,
        "example": found.example,
        "plugin": found.plugin,
        "distribution": found.distribution,
        "version": found.version,
        "policy": dict(found.policy),
        "statements": list(found.statements),
        "row_type": found.row_type,
        "rows": found.rows,
        "row_ids": [format_id(one) for one in found.row_ids],
        "results": found.results.to_json(),
    }
