"""`crm storage`: what the database is, how large, and whether it is up to date."""

from __future__ import annotations

from typing import Any

import click

from crm_core.console import Column, emit, examples, pairs, plural, say, size, table, workspace, workspace_place


@click.group()
def storage() -> None:
    """Look after the database."""


@storage.command(epilog=examples("crm storage status", "crm storage status --json"))
def status() -> None:
    """Show engine, place, size, how many records there are, and whether the schema is up to date."""
    with workspace() as crm:
        found = crm.storage.status()
        counts = {
            kind.plural: crm.records(kind.name).count()
            for kind in crm.registry.types.values()
            if not kind.declaration.internal
        }
        head = crm.ledger.history.head()

    data: dict[str, Any] = {
        "engine": found.engine,
        "place": found.place,
        "size": found.size,
        "details": dict(found.details),
        "records": counts,
        "position": head,
        "up_to_date": True,
    }

    def show() -> None:
        volume = [] if found.size is None else [("size", size(found.size))]
        pairs([("engine", found.engine), ("place", found.place), *volume, *found.details.items()])
        pairs([("ledger position", f"{head:,}"), ("schema", "up to date")])
        say()
        filled = [[name, f"{count:,}"] for name, count in counts.items() if count]
        table(["records", Column("count", right=True)], filled or [["none yet", "0"]])

    emit(data, show)


@storage.command(epilog=examples("crm storage upgrade --dry-run", "crm storage upgrade"))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def upgrade(dry_run: bool) -> None:
    """Bring the database up to what the kernel, the plugins and crm.toml declare."""
    from crm_core.crm import upgrade_workspace
    from crm_core.ledger.evolution import describe

    report = upgrade_workspace(workspace_place(), dry_run=dry_run)
    steps = [describe(change) for change in report.changes]
    steps += [f"data of {one.owner}: {one.from_version} to {one.to_version}" for one in report.migrations]

    def show() -> None:
        for step in steps:
            say(f"{'would ' if dry_run else ''}{step}")
        if not report.needed:
            say("The database is up to date.")
        elif not dry_run:
            say(f"done: {plural(len(steps), 'change')}, {plural(report.rows, 'row')} of data changed")

    emit({"needed": report.needed, "dry_run": dry_run, "changes": steps, "rows": report.rows}, show)
