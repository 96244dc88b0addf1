"""`crm ledger`: what was done, by whom, and how it is taken back."""

from __future__ import annotations

import json
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import attrs
import click

from crm_core.cli.audit import compact, head, verify
from crm_core.cli.records import label, labels
from crm_core.console import (
    MISSING,
    Column,
    Number,
    cell,
    confirm,
    emit,
    examples,
    heading,
    moment,
    note,
    pairs,
    plural,
    say,
    table,
    workspace,
    yes_option,
)
from crm_core.values import format_id, from_micros

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.ledger.history import OperationEntry, RowChange
    from crm_core.ledger.staying import UndoItem
    from crm_core.ledger.undo import UndoReport
    from crm_core.records import RecordType
    from crm_core.records.registry import Field


@click.group()
def ledger() -> None:
    """See what was done, and take it back."""


for _command in (verify, head, compact):
    ledger.add_command(_command)


@ledger.command("log", epilog=examples("crm ledger log", "crm ledger log --limit 100 --json"))
@click.option("--limit", type=Number(1, 100_000), default=20, show_default=True, help="At most so many.")
@click.option("--after", metavar="OPERATION", help="Read on after this operation.")
def log(limit: int, after: str | None) -> None:
    """List operations, newest first."""
    with workspace() as crm:
        found = crm.ledger.operations(limit=limit + 1, before=crm.ledger.resolve(after) if after else None)
        shown = found[:limit]
        users = labels(crm, "user", [entry.user_id for entry in shown])

        def show() -> None:
            rows = [
                [
                    format_id(entry.id),
                    moment(from_micros(entry.started_at), crm.zone),
                    entry.kind,
                    entry.state,
                    users.get(entry.user_id or 0, MISSING),
                    entry.label,
                ]
                for entry in shown
            ]
            table(
                [Column("operation"), "started", "kind", "state", "by", Column("what", fit="wrap")],
                rows,
            )
            if not rows:
                say("Nothing was written yet." if after is None else "That was all.")

        emit([_entry_json(entry, crm.zone) for entry in shown], show)
        if len(found) > limit:
            after = format_id(shown[-1].id)
            note(f"There are more: --after {after}", after=after)


@ledger.command(epilog=examples("crm ledger show last", "crm ledger show 5XK3Q"))
@click.argument("operation")
@click.option("--rows", type=Number(0, 100_000), default=20, show_default=True, help="Changed records to show.")
def show(operation: str, rows: int) -> None:
    """Show what an operation changed. OPERATION is "last", an id, or its ending."""
    with workspace() as crm:
        entry = crm.ledger.get(crm.ledger.resolve(operation))
        counts, changes = _changes(crm, entry.id, rows)
        data = {**_entry_json(entry, crm.zone), "counts": counts, "changes": [_change_json(one) for one in changes]}
        emit(data, lambda: _show_operation(crm, entry, counts, changes))


@ledger.command(
    epilog=examples(
        "crm ledger undo last --dry-run", "crm ledger undo 5XK3Q --yes", "crm ledger undo last --with-consequences"
    )
)
@click.argument("operation")
@click.option("--dry-run", is_flag=True, help="Say what would go back, and write nothing.")
@click.option("--with-consequences", is_flag=True, help="Also take back what rules did because of it.")
@yes_option
def undo(operation: str, dry_run: bool, with_consequences: bool, yes: bool) -> None:
    """Take an operation back. What people changed since stays, and is named; undoing the undo brings it back."""
    with workspace() as crm:
        entry = crm.ledger.get(crm.ledger.resolve(operation))
        if not dry_run:
            at = moment(from_micros(entry.started_at), crm.zone)
            confirm(f"Take back {entry.label!r} of {at}?", yes=yes, undoable=True)
        report = crm.ledger.undo(entry.id, dry_run=dry_run, with_consequences=with_consequences)
        emit(_report_json(report), lambda: _show_report(report, entry, dry_run))


@attrs.frozen(kw_only=True)
class _Shown:
    """One changed record in words: `fields` are (column, old, new)."""

    action: str
    type: str
    id: int
    label: str
    fields: tuple[tuple[str, str | None, str | None], ...]


def _changes(crm: CRM, operation_id: int, limit: int) -> tuple[dict[str, dict[str, int]], list[_Shown]]:
    """Count what an operation did by record type and action, and put the first `limit` changes into words."""
    kinds = {kind.plural: kind for kind in crm.registry.types.values() if not kind.declaration.internal}
    counts: dict[str, dict[str, int]] = {}
    shown: list[_Shown] = []
    for batch in crm.ledger.changes(operation_id):
        for change in batch:
            if change.table not in kinds:
                continue
            by_action = counts.setdefault(change.table, {})
            by_action[change.action] = by_action.get(change.action, 0) + 1
            if len(shown) < limit:
                shown.append(_in_words(crm, kinds[change.table], change))
    return counts, shown


def _in_words(crm: CRM, kind: RecordType, change: RowChange) -> _Shown:
    gone = (change.cells.get(column, (None, None))[0] for column in ("name", "title", "subject", "value"))
    if change.row:
        name = label(kind.decode(change.row))
    elif change.action == "deleted":
        name = next((str(text) for text in gone if text), format_id(change.id))
    else:
        name = labels(crm, kind.name, [change.id]).get(change.id, format_id(change.id))
    fields = []
    for field in kind.fields.values():
        columns = [column.name for column in field.codec.columns]
        if change.action == "updated" and any(column in change.cells for column in columns):
            old, new = (_side(crm, kind, field, change, columns, at) for at in (0, 1))
            fields.append((field.path, old, new))
    return _Shown(action=change.action, type=kind.name, id=change.id, label=name, fields=tuple(fields))


def _side(crm: CRM, kind: RecordType, field: Field, change: RowChange, columns: list[str], at: int) -> str | None:
    """Return a field before (0) or after (1) a change; of a currency that stayed, the image says nothing."""
    if columns[0] not in change.cells:
        return None
    cells = tuple(change.cells.get(column, (None, None))[at] for column in columns)
    if field.declaration.kind == "money":
        return None if cells[0] is None else str(cells[0]) if cells[1] is None else str(field.codec.decode(cells))
    value = field.codec.decode(cells)
    if field.declaration.references and value is not None:
        return labels(crm, field.declaration.references, [value]).get(value, format_id(value))
    return None if value is None else cell(value, crm.zone)


def _show_operation(crm: CRM, entry: OperationEntry, counts: dict[str, dict[str, int]], changes: list[_Shown]) -> None:
    users = labels(crm, "user", [entry.user_id])
    pairs(
        [
            ("operation", format_id(entry.id)),
            ("what", entry.label),
            ("kind", entry.kind),
            ("state", entry.state),
            ("by", users.get(entry.user_id or 0, MISSING)),
            ("started", moment(from_micros(entry.started_at), crm.zone, seconds=True)),
            *((name, _detail(value)) for name, value in entry.detail.items()),
        ]
    )
    for name, by_action in counts.items():
        say(f"{name}: " + ", ".join(f"{count:,} {action}" for action, count in by_action.items()))
    if changes:
        heading("Changes")
        rows = [[one.action, one.type, one.label, _fields_text(one)] for one in changes]
        table(["did", "type", Column("record", fit="wrap"), Column("fields", fit="wrap")], rows)
    if not counts:
        say("It changed nothing.")


def _detail(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _fields_text(change: _Shown) -> str:
    return "; ".join(f"{name}: {old or MISSING} → {new or MISSING}" for name, old, new in change.fields)


def _change_json(change: _Shown) -> dict[str, Any]:
    fields = {name: {"old": old, "new": new} for name, old, new in change.fields}
    return {
        "action": change.action,
        "type": change.type,
        "id": format_id(change.id),
        "label": change.label,
        "fields": fields,
    }


def _show_report(report: UndoReport, entry: OperationEntry, dry_run: bool) -> None:
    went = ", ".join(plural(count, name) for name, count in report.reversed.items()) or "nothing"
    say(f"{'would go back' if dry_run else 'took back'}: {went}")
    say(f"operation {format_id(entry.id)}: {entry.label}")
    for title, items in (("Kept, because it was changed since", report.kept), ("Refused", report.refused)):
        if items:
            heading(f"{title}: {len(items):,}")
            rows = [[i.type, i.label or format_id(i.id), ", ".join(i.fields) or MISSING, i.reason] for i in items[:50]]
            table(["type", Column("record", fit="wrap"), "fields", Column("why", fit="wrap")], rows)
    for one in report.consequences:
        say(f"consequence: {one.label} ({format_id(one.id)}, {one.state})")


def _report_json(report: UndoReport) -> dict[str, Any]:
    return {
        "operation": format_id(report.operation_id),
        "undo": None if report.undo_id is None else format_id(report.undo_id),
        "reversed": dict(report.reversed),
        "kept": [_item_json(item) for item in report.kept],
        "refused": [_item_json(item) for item in report.refused],
        "consequences": [format_id(entry.id) for entry in report.consequences],
    }


def _item_json(item: UndoItem) -> dict[str, Any]:
    return {
        "type": item.type,
        "id": format_id(item.id),
        "label": item.label,
        "fields": list(item.fields),
        "reason": item.reason,
    }


def _entry_json(entry: OperationEntry, zone: tzinfo) -> dict[str, Any]:
    def at(micros: int | None) -> str | None:
        return None if micros is None else from_micros(micros).astimezone(zone).isoformat()

    def reference(one: int | None) -> str | None:
        return None if one is None else format_id(one)

    return {
        "id": format_id(entry.id),
        "kind": entry.kind,
        "label": entry.label,
        "state": entry.state,
        "user": reference(entry.user_id),
        "started_at": at(entry.started_at),
        "ended_at": at(entry.ended_at),
        "undoes": reference(entry.undoes),
        "cause": reference(entry.cause),
        "detail": dict(entry.detail),
    }
