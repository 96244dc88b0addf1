"""`crm ledger verify|head|compact`: whether the ledger is as it was written, and giving up what is old in it."""

from __future__ import annotations

from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crm_core.console import confirm, emit, examples, instant, pairs, plural, say, workspace, yes_option
from crm_core.errors import TamperedLedger
from crm_core.values import local_midnight

if TYPE_CHECKING:
    from crm_core.ledger.audit import ChainReport
    from crm_core.ledger.compaction import CompactReport


@click.command(
    epilog=examples("crm ledger verify", "crm ledger verify --anchor anchor.txt", "crm ledger verify --json")
)
@click.option("--anchor", metavar="ANCHOR|FILE", help="What `crm ledger head` printed once, or a file that holds it.")
def verify(anchor: str | None) -> None:
    """Check the hash chain over the ledger: what was edited, deleted, inserted or reordered in it shows.

    Without a key, and without an anchor kept elsewhere, a chain that somebody computed anew would pass: [ledger] key in
    crm.toml names a key outside the database.
    """
    with workspace() as crm:
        report = crm.ledger.verify(None if anchor is None else _anchor_text(anchor))
        keyed_settings = crm.settings.ledger_key is not None
    broken = report.broken
    data = {
        "intact": report.intact,
        "position": report.position,
        "anchor": report.anchor,
        "unchained": report.unchained,
        "plain": report.plain,
        "keyed": report.keyed,
        "images": report.images,
        "emptied": report.emptied,
        "broken": None if broken is None else {"position": broken.position, "reason": broken.reason},
    }
    emit(data, lambda: _show_chain(report, keyed_settings, anchored=anchor is not None))
    if broken is not None:
        where = f"at position {broken.position:,}: " if broken.position else ""
        raise TamperedLedger(
            f"the ledger's chain is broken {where}{broken.reason}",
            hint="compare with a backup (crm ledger verify there); what came before that position is as it was written",
        )


@click.command(epilog=examples("crm ledger head", "crm ledger head > anchor.txt"))
def head() -> None:
    """Print the head of the hash chain: kept outside, it shows later when the end of the ledger was cut off."""
    with workspace() as crm:
        anchor = crm.ledger.anchor()
    position, _, link = anchor.partition(":")
    emit({"anchor": anchor, "position": int(position), "chain": link}, lambda: say(anchor))


@click.command(
    epilog=examples("crm ledger compact --before 2025-01-01 --dry-run", "crm ledger compact --before 2025-01-01 --yes")
)
@click.option("--before", required=True, metavar="TIME", help="A day or a time, such as 2025-01-01.")
@click.option("--dry-run", is_flag=True, help="Say what would be given up, and write nothing.")
@yes_option
def compact(before: str, dry_run: bool, yes: bool) -> None:
    """Give up what undo needs of changes before a day, to make the database smaller.

    Given up for good: former values of what was changed or deleted before then, and so the undo of these changes. What
    stays: the log of who did what, records as they are, the undo of what was created, and the hash chain.
    """
    with workspace() as crm:
        at = _start(before, crm.zone)
        report = crm.ledger.compact(at, dry_run=True)
        if not dry_run and report.images:
            told = f"{plural(report.images, 'image')} of {plural(report.operations, 'operation')}"
            confirm(f"Give up {told}? They cannot be undone then, and this cannot be taken back.", yes=yes)
            report = crm.ledger.compact(at)
    data = {
        "through": report.through,
        "images": report.images,
        "transactions": report.transactions,
        "operations": report.operations,
        "held_by": list(report.held_by),
        "left_over": report.left_over,
        "dry_run": dry_run,
    }
    emit(data, lambda: _show_compaction(report, dry_run))


def _start(typed: str, zone: tzinfo) -> datetime:
    """Read a day or a time; before a day is before it begins."""
    at = instant(typed, zone)
    return local_midnight(at.astimezone(zone).date(), zone) if len(typed.strip()) <= 10 else at


def _anchor_text(given: str) -> str:
    """Return the anchor as typed, or what the file of that name says."""
    try:
        return Path(given).read_text("utf-8").strip()
    except (OSError, ValueError):
        return given


def _show_chain(report: ChainReport, keyed_settings: bool, *, anchored: bool) -> None:
    say(f"checked: {plural(report.position, 'transaction')}, {plural(report.images, 'image')}")
    counts = {"linked with the key": report.keyed, "linked without a key": report.plain}
    pairs((name, f"{count:,}") for name, count in counts.items())
    if report.unchained:
        say(f"not covered: the first {plural(report.unchained, 'transaction')}, written before there was a chain")
    if report.emptied:
        say(f"emptied by erasures and compactions: {plural(report.emptied, 'image')}; their digests hold the chain")
    if report.broken is not None:
        return
    if keyed_settings and not report.keyed:
        say("The settings name a key, but no link was made with it.")
    elif report.plain and not report.keyed and not anchored:
        say("Made without a key: only an anchor kept elsewhere shows a chain that somebody computed anew.")
    say("The chain holds.")


def _show_compaction(report: CompactReport, dry_run: bool) -> None:
    if not report.images:
        say("There is nothing to give up before then.")
    else:
        images, operations = plural(report.images, "image"), plural(report.operations, "operation")
        gone = "would give up" if dry_run else "gave up"
        say(f"{gone}: {images} of {operations}, through position {report.through:,}")
        say("what they changed or deleted cannot be taken back; what they created can")
    if report.held_by:
        say(f"kept for who has not been told yet: {', '.join(report.held_by)} (crm doctor)")
    if report.left_over:
        say(f"may remain: {report.left_over}")
