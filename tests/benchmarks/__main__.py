"""`python -m tests.benchmarks [--full] [NAME...]` runs each `bench_*.py` here, printing figures beside limits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import Row

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all; a missed goal is shown, a benchmark that raises ends the run."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names) or 'none yet'}")
    parser.add_argument("--full", action="store_true", help="the long forms, at the largest sizes")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.names) - set(names)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(names) or 'none yet'}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    if not names:
        console.print("NOT RUN: no benchmark is in tests/benchmarks")
    for name in options.names or names:
        run: Callable[[bool], list[Row]] = import_module(f"tests.benchmarks.bench_{name}").run
        console.print(as_table(name, run(options.full)))
    return 0


def as_table(title: str, rows: Sequence[Row]) -> Table:
    """The rows of one benchmark; a figure without a limit has no ratio, one without a goal no verdict."""
    table = Table(title=title, title_justify="left")
    table.add_column("name")
    for column in ("ours", "limit", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("goal")
    for row in rows:
        limit = "" if row.limit is None else _figure(row.limit, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        table.add_row(row.name, _figure(row.ours, row.unit), limit, ratio, f"{row.goal} {verdict}".strip())
    return table


def _figure(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 3 if abs(value) < 1 else 1
    return f"{value:,.{digits}f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
