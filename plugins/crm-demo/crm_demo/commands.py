"""`crm demo`: makes the workspace, writes the company as files, imports them like any team's, and prints the report."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from datetime import date, timedelta
from pathlib import Path

import click

from crm_core.console import Number, emit, examples, note, run_command, say, session
from crm_core.errors import CrmError, UsageError
from crm_core.values import ascii_digits
from crm_demo.workspace import Made, make, mark, remove, state_of

_LOOK_AROUND = (
    "deals board",
    "metrics show win_rate --by owner",
    "segments run abc",
    "customers list --sort name --limit 10",
)


@click.command(
    epilog=examples(
        "crm demo",
        "crm demo shop --seed 7 --as-of 2026-11-20",
        "crm demo --force                 make it anew",
        "crm deals board -w crm-demo      look around afterwards",
    )
)
@click.argument("directory", metavar="[DIR]", default="crm-demo", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=Number(0, 2**31), default=7, show_default=True, help="Another seed, another company.")
@click.option("--as-of", metavar="DAY", help="The last day of the data; yesterday, if left out.")
@click.option("--force", is_flag=True, help="Make an existing demo anew; any other directory is left alone.")
def demo(directory: Path, seed: int, as_of: str | None, force: bool) -> None:
    """Make a workspace with a generated company in DIR, print its report and write report.html.

    About 2,000 customers, 10,000 deals and 30,000 interactions in two currencies and three scripts; all made up.
    A demo that is there already is kept, and its report printed again.
    """
    state = state_of(directory)
    if state.is_foreign:
        raise UsageError(
            f"{directory} is not empty and is no demo: nothing was touched",
            hint="name another directory: crm demo DIR",
        )
    session().workspace = str(directory)
    made = state.made
    if made is None or force:
        made = Made(seed=seed, last_day=_day(as_of))
        remove(directory)
        _fill(directory, made)
    else:
        _check_same(directory, made, seed, _day(as_of) if as_of else made.last_day)
        note(f"{directory} is there already, as of {made.last_day}; --force makes it anew")
    _report(directory, made)


def _day(typed: str | None) -> date:
    if typed is None:
        return date.today() - timedelta(days=1)  # noqa: DTZ011  # the reader's own day is meant
    try:
        return date.fromisoformat(ascii_digits(typed.strip()))
    except ValueError as error:
        raise click.BadParameter(f"{typed!r} is not a day; write it as 2026-11-20", param_hint="--as-of") from error


def _check_same(directory: Path, made: Made, seed: int, last_day: date) -> None:
    if (made.seed, made.last_day) != (seed, last_day):
        raise UsageError(
            f"{directory} is a demo with --seed {made.seed} --as-of {made.last_day}",
            hint="--force makes it anew with what you ask for; or name another directory",
        )


def _fill(directory: Path, made: Made) -> None:
    from crm_core import CRM

    plan = directory / "data" / "plan.toml"
    say(f"writing the company's files to {plan.parent}")
    make(directory, made)
    CRM.open(directory).close()  # makes the database, which nobody need be told of here
    with _for_people():
        code = run_command("import", ["--plan", str(plan), "--data", str(plan.parent)])
    if code:
        raise CrmError("the import of the demo did not go through", hint="crm demo --force tries again")
    mark(directory, made, complete=True)


def _report(directory: Path, made: Made) -> None:
    page = directory / "report.html"
    with _for_people():
        as_of = ["--as-of", made.last_day.isoformat()]
        run_command("report", as_of)
        run_command("report", [*as_of, "--html", str(page)])
    data = {"workspace": str(directory), "seed": made.seed, "as_of": made.last_day.isoformat(), "report": str(page)}

    def show() -> None:
        say()
        say("Look around:")
        for line in _LOOK_AROUND:
            say(f"  crm -w {directory} {line}")

    emit(data, show)


@contextmanager
def _for_people() -> Iterator[None]:
    """Send what other commands print for people to standard error, under `--json`."""
    asked = session().json
    session().json = False
    try:
        with redirect_stdout(sys.stderr) if asked else nullcontext():
            yield
    finally:
        session().json = asked
