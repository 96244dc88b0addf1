"""`crm report`: the report as text on a terminal, as JSON, or as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crm_core.console import (
    as_of_option,
    emit,
    examples,
    fail,
    heading,
    instant,
    period_option,
    reading_options,
    say,
    table,
    workspace,
    write_whole,
)

if TYPE_CHECKING:
    from crm_kpi.report import Report

_BAR = 24


@click.command(epilog=examples("crm report --period 2017-Q2", "crm report --html report.html", "crm report --json"))
@period_option
@click.option("--html", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write one HTML file instead.")
@as_of_option
def report(period: str | None, file: Path | None, as_of: str | None) -> None:
    """Report key figures, revenue, pipeline and segments of a period."""
    from crm_kpi.report import build_report

    with workspace(as_of=as_of) as crm, reading_options():
        built = build_report(crm, period=period, as_of=instant(as_of, crm.zone) if as_of else None)
    if file is not None:
        _write(file, built)
    emit(built.to_json(), lambda: _saved(file) if file else _show(built))


def _write(file: Path, built: Report) -> None:
    from crm_kpi.page import render_page

    try:
        write_whole(file, render_page(built))
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}", hint="name another file with --html")


def _saved(file: Path) -> None:
    say(f"The report is in {file}")


def _show(built: Report) -> None:
    heading(f"{built.title}: {built.period}")
    for _, title, data in built.sections:
        heading(title)
        _show_section(data)


def _show_section(data: Mapping[str, Any]) -> None:
    if data.get("tiles"):
        table(["figure", "value", "change"], [[tile["label"], tile["text"], tile["detail"]] for tile in data["tiles"]])
    if data.get("table"):
        table(data["table"]["columns"], [[str(cell) for cell in row] for row in data["table"]["rows"]])
    else:
        for chart in data.get("charts", ()):
            table([chart.get("title") or "", "", "value"], _bars(chart))
    for text in data.get("notes", ()):
        say(f"note: {text}")


def _bars(chart: Mapping[str, Any]) -> list[list[str]]:
    longest = max([0.0, *chart["values"]]) or 1.0
    drawn = ["█" * round(max(value, 0.0) / longest * _BAR) for value in chart["values"]]
    return [list(line) for line in zip(chart["labels"], drawn, chart["texts"], strict=True)]
