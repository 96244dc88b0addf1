"""`crm storage`: what the database is, whether it is up to date and sound, and copies of it in a safe place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from crm_core.console import Column, emit, examples, pairs, plural, say, size, table, workspace, workspace_place
from crm_core.errors import StorageError

if TYPE_CHECKING:
    from crm_core.ledger.verify import Check
    from crm_core.upkeep import BackupInfo, RestoreReport, Start


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
    from crm_core.ledger.evolution import describe
    from crm_core.opening import upgrade_workspace
    from crm_core.upkeep import finish_restore

    report = upgrade_workspace(workspace_place(), dry_run=dry_run)
    again, withdrawn = (0, 0) if dry_run else finish_restore(workspace_place())
    steps = [describe(change) for change in report.changes]
    steps += [f"data of {one.owner}: {one.from_version} to {one.to_version}" for one in report.migrations]

    def show() -> None:
        for step in steps:
            say(f"{'would ' if dry_run else ''}{step}")
        if not report.needed:
            say("The database is up to date.")
        elif not dry_run:
            say(f"done: {plural(len(steps), 'change')}, {plural(report.rows, 'row')} of data changed")
        if again:
            say(f"erased again, after the backup that was restored: {plural(again, 'person')}")
        if withdrawn:
            say(f"withdrawn again, after the backup that was restored: {plural(withdrawn, 'consent')}")

    told = {"needed": report.needed, "dry_run": dry_run, "changes": steps, "rows": report.rows}
    emit({**told, "erased_again": again, "withdrawn_again": withdrawn}, show)


@storage.command(epilog=examples("crm storage backup monday.crm", "crm storage backup team.crm --portable"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--portable",
    is_flag=True,
    help="Write rows that any storage takes; those without a copy of their own, PostgreSQL and MariaDB, always do.",
)
def backup(file: Path, portable: bool) -> None:
    """Write the whole database, as it is at this moment, to one new FILE; others work on meanwhile.

    It holds records, ledger and delivery cursors, each table with a digest; crm.toml is not in it. It is not encrypted.
    """
    from crm_core.upkeep import back_up

    info = back_up(workspace_place(), file, portable=portable)

    def show() -> None:
        say(f"wrote {file}: {size(file.stat().st_size)}, {_counted(sum(info.rows.values()), info.position)}")
        if info.faults:
            say(f"the database is wrong in itself, and this will not be restored: {info.faults[0]}")
            say("crm storage verify shows all of it")

    emit({"file": str(file), **attrs.asdict(info)}, show)


@storage.command(
    epilog=examples("crm storage restore monday.crm --dry-run", "crm storage restore monday.crm --force --from gap")
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Check the backup and say what it holds; change nothing.")
@click.option("--force", is_flag=True, help="Overwrite a database that holds something.")
@click.option(
    "--from",
    "start",
    type=click.Choice(["head", "gap"]),
    help="What was waiting for delivery at the time of the backup: gap delivers it, head does not.",
)
@click.option(
    "--despite-erasures",
    is_flag=True,
    help="Restore also where not all erasures since can be known, or one of them not be done again.",
)
def restore(file: Path, dry_run: bool, force: bool, start: Start | None, despite_erasures: bool) -> None:
    """Put a backup in the place of all that the database holds; it is checked to the last byte first.

    Persons who were erased after it was made are erased again: the database that is replaced says who they are, and
    erasures.jsonl beside crm.toml, should the database be lost. Keep a copy of that file elsewhere. Consents that the
    database which is replaced knows to be withdrawn, and the backup does not, are withdrawn again.
    """
    from crm_core.upkeep import restore as put_back

    place = workspace_place()
    report = put_back(place, file, start=start, force=force, despite_erasures=despite_erasures, dry_run=dry_run)
    emit({"file": str(file), **attrs.asdict(report)}, lambda: _show_restore(report))


@storage.command(epilog=examples("crm storage verify", "crm storage verify monday.crm", "crm storage verify --json"))
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.pass_context
def verify(context: click.Context, file: Path | None) -> None:
    """Read the whole database and check it: files, indexes, references, external ids, the ledger, every record.

    With FILE, read a backup instead and check every byte of it; no workspace is needed. The exit code is 1 when
    something is wrong.
    """
    if file is not None:
        _verify_backup(file)
        return
    from crm_core.ledger.verify import INDEXES
    from crm_core.upkeep import verify_workspace

    checks = verify_workspace(workspace_place())
    wrong = [check for check in checks if check.state == "wrong"]

    def show() -> None:
        mark = {"well": "ok", "wrong": "WRONG", "not run": "NOT RUN"}
        table(
            ["check", "state", Column("looked at", right=True), Column("what is wrong", fit="wrap")],
            [[one.name, mark[one.state], f"{one.looked_at:,}", "; ".join(one.faults)] for one in checks],
        )
        for one in checks:
            if one.unchecked:
                say(f"NOT RUN of {one.name}: {one.unchecked}")
        if [INDEXES] == [one.name for one in wrong]:
            say("Records and ledger are sound, indexes are not: crm storage reindex makes them anew.")
        else:
            say(
                f"{plural(len(wrong), 'check')} found damage: go back to a backup"
                if wrong
                else "The database is sound."
            )

    emit({"sound": not wrong, "checks": [_check_json(check) for check in checks]}, show)
    if wrong:
        context.exit(1)


@storage.command(epilog=examples("crm storage reindex"))
def reindex() -> None:
    """Make all indexes anew from the records: that of the search, and the database's own.

    For a database of which verify says that its indexes are wrong. Records and ledger stay as they are, and what
    could be undone still can be. Others wait to write meanwhile.
    """
    from crm_core.upkeep import reindex_workspace

    made = reindex_workspace(workspace_place())

    def show() -> None:
        for one in made:
            say(f"made {one} anew")
        if not made:
            say("This storage keeps no indexes: there is nothing to make.")

    emit({"made": made}, show)


def _verify_backup(file: Path) -> None:
    from crm_core.upkeep import check_backup

    info = check_backup(file)
    if info.faults:
        raise StorageError(
            f"{file} is as it was written, and holds a database that is wrong in itself: {info.faults[0]}",
            hint="it will not be restored: take an older backup",
        )

    def show() -> None:
        pairs(_described(info))
        say("Every byte is as it was written.")

    emit({"file": str(file), **attrs.asdict(info)}, show)


def _described(info: BackupInfo) -> list[tuple[str, str]]:
    where = {"copy": f"{info.engine.split()[0]} only", "portable": "any storage"}[info.form]
    return [
        ("made", f"{info.made_at} by crm-core {info.kernel}, {info.engine}"),
        ("holds", _counted(sum(info.rows.values()), info.position)),
        ("restores into", where),
    ]


def _show_restore(report: RestoreReport) -> None:
    info = report.backup
    pairs(
        [
            *_described(info),
            ("in the way", f"{report.replaced:,} records and transactions" if report.replaced else "nothing"),
            *((f"waiting for {name}", plural(count, "transaction")) for name, count in report.waiting.items()),
            ("erased since", _erased_since(report)),
            ("withdrawn since", _withdrawn_since(report)),
            *((f"customer {one}", _absorbed(other)) for one, other in report.absorbed.items()),
        ]
    )
    filled = [[name, f"{count:,}"] for name, count in info.rows.items() if count]
    table(["table", Column("rows", right=True)], filled)
    if report.older:
        say("Its schema is older than what is installed: crm storage upgrade brings it up to date.")
    say("Every byte is as it was written; nothing was changed." if report.dry_run else "restored, and compared")


def _erased_since(report: RestoreReport) -> str:
    if not report.erased_again:
        return "nobody who is in the backup, as far as is known here"
    persons = plural(report.erased_again, "person")
    if report.dry_run:
        return f"{persons} in the backup, to be erased again"
    later = f"{persons}, to be erased again by crm storage upgrade, before which nothing opens the database"
    return later if report.erasing == "later" else f"{persons}, erased again"


def _withdrawn_since(report: RestoreReport) -> str:
    if not report.withdrawn_again:
        return "no consent that the database in the way knows of"
    consents = plural(len(report.withdrawn_again), "consent")
    if report.dry_run:
        return f"{consents} that the backup does not know to be withdrawn, to be withdrawn again (--json names them)"
    return f"{consents}, withdrawn again{' by crm storage upgrade' * (report.erasing == 'later')} (--json names them)"


def _absorbed(other: str) -> str:
    return f"was erased since, and is a part of customer {other} in the backup: crm doctor says what to do"


def _counted(rows: int, position: int) -> str:
    return f"{plural(rows, 'row')}, ledger position {position:,}"


def _check_json(check: Check) -> dict[str, Any]:
    told = {"name": check.name, "state": check.state, "looked_at": check.looked_at, "faults": list(check.faults)}
    return {**told, "unchecked": check.unchecked}
