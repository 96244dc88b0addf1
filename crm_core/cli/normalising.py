"""`crm customers normalise`: the keys by which addresses and numbers match are made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from crm_core.console import Column, clean, confirm, emit, examples, plural, say, table, workspace, yes_option

if TYPE_CHECKING:
    from crm_core.services.customers import Renormalised


@click.command(epilog=examples("crm customers normalise --dry-run", "crm customers normalise --yes"))
@click.option("--dry-run", is_flag=True, help="Say which keys would change, and write nothing.")
@yes_option
def normalise(dry_run: bool, yes: bool) -> None:
    """Make the keys anew by which contact points match.

    Needed once after a plugin that normalises phone numbers or e-mail addresses came or went, or when countries of
    customers were filled in. What was typed stays as it is. One operation, which `crm ledger undo` takes back.
    """
    with workspace() as crm:
        if not dry_run:
            confirm("Make the keys of all contact points anew?", yes=yes, undoable=True)
        report = crm.contact_points.normalise(dry_run=dry_run)
        shown = {
            "read": report.read,
            "changed": dict(report.changed),
            "examples": [
                {"kind": point.kind, "value": point.value, "key": point.key, "new": key}
                for point, key in report.examples
            ],
            "dry_run": dry_run,
        }
        emit(shown, lambda: _show(report))


def _show(report: Renormalised) -> None:
    changed = sum(report.changed.values())
    if not changed:
        say(f"All {plural(report.read, 'contact point')} have the keys they should have.")
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(report.changed.items()))
    verb = "would change" if report.dry_run else "changed"
    say(f"{verb} the keys of {changed:,} of {plural(report.read, 'contact point')}: {kinds}")
    rows = [[point.kind, clean(point.value), point.key or "", key] for point, key in report.examples]
    table(["kind", Column("as given", fit="clip"), "key", "new key"], rows)
    if not report.dry_run:
        say("crm ledger undo last takes it back")
