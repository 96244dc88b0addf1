"""Prints what an import did, or would do, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crm_core.console import clean, say, session, table
from crm_core.values import format_id

if TYPE_CHECKING:
    from collections import Counter

    from crm_transfer.report import Counts, ImportReport

_SHOWN: Final = 10
_CHANGES: Final = 50
"""How many changes and conflicts of an edited export are printed; --json has more."""


def show(report: ImportReport) -> None:
    """Print the report for a person: counts by file and type, the traps, the first rejected rows, the next step."""
    for file in report.files:
        say(f"{clean(file.file)}: {_told(file.counts)}")
        for remark in file.notes:
            say(f"  {clean(remark)}")
    show_diff(report)
    _types(report.types)
    _show_kept(report)
    for remark in report.notes:
        say(f"Note: {remark}")
    causes_first = sorted(report.errors, key=lambda error: error.rule == "group")
    for error in causes_first[:_SHOWN]:
        say(f"rejected: {clean(str(error))}")
    hidden = report.counts.rejected - min(_SHOWN, len(report.errors))
    if hidden > 0:
        say(f"... and {hidden:,} more rejected rows")
    for file in report.files:
        if file.rejects_file:
            say(f"Rejected rows are in {clean(file.rejects_file)}.")
            say("Correct them there, then import that file with the same mapping.")
    rate = report.counts.read / report.seconds if report.seconds else 0
    took = f"{report.counts.read:,} rows in {report.seconds:.1f} s ({rate:,.0f} rows/s)"
    if report.dry_run:
        say(f"Dry run: {took}; nothing was written.")
    elif any(counts.created or counts.updated for counts in report.types.values()):
        say(f"{took}. To take it back: crm ledger undo {format_id(report.operation or 0)}")
    else:
        say(f"{took}; nothing had to be changed.")


def show_diff(report: ImportReport) -> None:
    """Print what an edited export changes: field by field, old and new, then what clashes."""
    for file in report.files:
        if file.diff is None:
            continue
        for edit in file.diff.changes[:_CHANGES]:
            say(clean(f"{file.file}, {edit}"))
        hidden = sum(file.diff.fields.values()) - min(_CHANGES, len(file.diff.changes))
        if hidden > 0:
            by_field = ", ".join(f"{name} ({count:,})" for name, count in file.diff.fields.most_common(10))
            say(f"... and {hidden:,} more changed fields; all of them by field: {by_field}")
        for clash in file.diff.clashes[:_CHANGES]:
            say(clean(f"conflict: {file.file}, {clash}"))
        if file.diff.clashing > _CHANGES:
            say(f"... and {file.diff.clashing - _CHANGES:,} more conflicts")
        if file.diff.kept:
            say("To take the file's word for a field: --conflict FIELD=overwrite (or fill, where the CRM has nothing)")
        for suspect in file.diff.suspects[:_SHOWN]:
            say(clean(f"changed by the spreadsheet program? {file.file}, {suspect}"))
        if file.diff.suspected:
            _tell_suspected(file.diff.suspected)
        if file.diff.created:
            shown = ", ".join(str(row) for row in file.diff.new_rows[:_SHOWN])
            more = " ..." if file.diff.created > _SHOWN else ""
            say(f"new: {file.diff.created:,} rows without an id make new records (row {shown}{more})")


def _tell_suspected(fields: Counter[str]) -> None:
    """Say how many cells were not taken since nobody seems to have typed them, and how they are taken."""
    by_field = ", ".join(f"{name} ({count:,})" for name, count in fields.most_common(_SHOWN))
    say(f"{fields.total():,} cells look changed by the spreadsheet program, and are not taken: {by_field}")
    say("Where that was you after all: --conflict FIELD=overwrite")


def _show_kept(report: ImportReport) -> None:
    """Print which fields stayed as they are in the CRM."""
    counts = report.kept_fields
    if not counts:
        return
    listed = ", ".join(f"{kind}.{field} ({count:,})" for (kind, field), count in counts.most_common(10))
    say(f"{sum(counts.values()):,} fields kept as they are in the CRM, as their policy says: {listed}")
    for one in [kept for file in report.files for kept in file.kept][:_SHOWN]:
        by = f", edited by {one.by}" if one.by else ", edited since the last import" if one.at else ""
        say(f"kept: {one.file}, row {one.row}: {one.type} {one.field} stays {one.kept!r}; the file: {one.value!r}{by}")
    say('To take the file\'s word for a field: --conflict FIELD=overwrite, or conflict = "overwrite" in the mapping')


def _types(types: dict[str, Counts]) -> None:
    heads = ["records", "read", "created", "updated", "unchanged", "rejected"]
    rows = [[name, *(f"{number:,}" for number in counts.to_json().values())] for name, counts in types.items()]
    if rows and not session().json:
        table(heads, rows)


def _told(counts: Counts) -> str:
    parts = ", ".join(f"{number:,} {status}" for status, number in counts.to_json().items() if status != "read")
    return f"{counts.read:,} rows read = {parts}"
