"""`crm customers merge`: two customers become one, shown before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from crm_core.cli.records import find, label
from crm_core.console import (
    Column,
    cell,
    clean,
    confirm,
    emit,
    examples,
    heading,
    plural,
    say,
    table,
    workspace,
    yes_option,
)
from crm_core.errors import UsageError
from crm_core.records.registry import OWN_FIELDS
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.records import Customer
    from crm_core.services.merging import MergeReport, Side

_SIDES: dict[str, Side] = {"a": "keep", "b": "gone"}


@click.command(
    epilog=examples(
        "crm customers merge ada@example.org 5XK3Q --dry-run",
        "crm customers merge ada@example.org 5XK3Q --keep city=B --yes",
    )
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--keep", "choices", metavar="FIELD=A|B", multiple=True, help="Whose value stays; without it, A's.")
@click.option("--across-kinds", is_flag=True, help="Also where one is a person and the other an organisation.")
@click.option("--dry-run", is_flag=True, help="Say what would follow and where the two differ, and write nothing.")
@yes_option
def merge(a: str, b: str, choices: tuple[str, ...], across_kinds: bool, dry_run: bool, yes: bool) -> None:
    """Make customer B a part of customer A.

    Everything of B follows: deals, sales, interactions, what plugins keep, external ids. Tags and contact points are
    united, empty fields of A are filled. One operation, which `crm ledger undo` takes back.
    """
    with workspace() as crm:
        keep, gone = find(crm, "customer", a), find(crm, "customer", b)
        choose = _chosen(crm, choices)
        allowed = across_kinds or _ask_across(keep, gone, yes=yes, dry_run=dry_run)
        if not dry_run:
            confirm(f"Merge {_named(gone)} into {_named(keep)}?", yes=yes, undoable=True)
        report = crm.customers.merge(keep, gone, choose=choose, across_kinds=allowed, dry_run=dry_run)
        emit(_json(crm, report), lambda: _show(crm, report, keep, gone))


def _chosen(crm: CRM, choices: Sequence[str]) -> dict[str, Side]:
    kind = crm.registry.named("customer")
    chosen: dict[str, Side] = {}
    for typed in choices:
        path, _, side = typed.rpartition("=")
        if not path or side.strip().casefold() not in _SIDES:
            raise UsageError(f"--keep {typed!r} is not understood", hint="write the field and A or B: --keep city=B")
        own = f"{OWN_FIELDS}.{path.strip()}"
        chosen[own if own in kind.fields else path.strip()] = _SIDES[side.strip().casefold()]
    return chosen


def _ask_across(keep: Customer, gone: Customer, *, yes: bool, dry_run: bool) -> bool:
    """Ask whether a person and an organisation are one; a dry run may look without an answer."""
    if keep.kind != gone.kind and not dry_run:
        confirm(
            f"{_named(keep)} is of the kind {keep.kind}, {_named(gone)} of the kind {gone.kind}. One all the same?",
            yes=yes,
        )
    return True


def _named(customer: Customer) -> str:
    return f"{clean(label(customer))} ({format_id(customer.id)})"


def _show(crm: CRM, report: MergeReport, keep: Customer, gone: Customer) -> None:
    say(f"{'would merge' if report.dry_run else 'merged'} {_named(gone)} into {_named(keep)}")
    for told, counts in (
        ("follow", report.moved),
        ("there twice, made one", report.united),
        ("dropped, as they would point at themselves", report.dropped),
    ):
        if counts:
            say(f"{told}: " + ", ".join(plural(count, name.replace("_", " ")) for name, count in counts.items()))
    if report.external_ids:
        say(f"external ids that follow: {report.external_ids:,}")
    if report.filled:
        say(f"filled: {', '.join(report.filled)}")
    if keep.kind != gone.kind:
        say(f"note: {clean(label(keep))} is of the kind {keep.kind}, {clean(label(gone))} of the kind {gone.kind}")
    if report.conflicts:
        heading("They differ in")
        rows = [
            [one.path, cell(one.kept, crm.zone), cell(one.gone, crm.zone), "A" if one.wins == "keep" else "B"]
            for one in report.conflicts
        ]
        table(["field", Column("A", fit="wrap"), Column("B", fit="wrap"), "stays"], rows)
        if report.dry_run:
            say("--keep FIELD=B lets B's value stay")
    if not report.dry_run:
        say("crm ledger undo last takes it back")


def _json(crm: CRM, report: MergeReport) -> dict[str, Any]:
    return {
        "kept": format_id(report.kept),
        "gone": format_id(report.gone),
        "operation": None if report.operation_id is None else format_id(report.operation_id),
        "dry_run": report.dry_run,
        "moved": dict(report.moved),
        "united": dict(report.united),
        "dropped": dict(report.dropped),
        "external_ids": report.external_ids,
        "filled": list(report.filled),
        "conflicts": [
            {
                "field": one.path,
                "a": cell(one.kept, crm.zone),
                "b": cell(one.gone, crm.zone),
                "stays": "A" if one.wins == "keep" else "B",
            }
            for one in report.conflicts
        ],
    }
