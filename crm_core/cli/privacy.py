"""`crm customers export-data|erase`: a person's own rights to what is known of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crm_core.cli.records import label
from crm_core.console import (
    Column,
    clean,
    confirm,
    emit,
    examples,
    heading,
    note,
    plural,
    print_json,
    progress,
    say,
    session,
    table,
    workspace,
    yes_option,
)
from crm_core.errors import InvalidValue, NotFound, UsageError
from crm_core.values import format_id, parse_id

if TYPE_CHECKING:
    from crm_core.crm import CRM
    from crm_core.services.privacy import Erasure


@click.command(
    "export-data",
    epilog=examples("crm customers export-data ada@example.org -o ada.json", "crm customers export-data 5XK3Q"),
)
@click.argument("who", metavar="CUSTOMER")
@click.option("-o", "--output", metavar="FILE", help="Write it to a file, which must not be there yet.")
def export_data(who: str, output: str | None) -> None:
    """Export everything known about a person, as JSON.

    All records about the person, of every plugin, with the labels of their fields; how other systems know them; and
    former values that the ledger still holds. Other customers show by their id only.
    """
    with workspace() as crm:
        data = crm.privacy.export(crm.resolve("customer", who))
    if output is None:
        print_json(data)
        return
    _write_new(Path(output), json.dumps(data, ensure_ascii=False, indent=2) + "\n")
    records = sum(len(kind["records"]) for kind in data["records"].values())
    done = {"file": output, "records": records, "former_values": len(data["former_values"])}
    for one in data["not_included"]:
        note(f"not in it: {one['count']:,} in {one['what']}; {one['reason']}")
    emit(done, lambda: say(f"wrote {plural(records, 'record')} about {clean(data['about']['label'])} to {output}"))


@click.command(
    epilog=examples("crm customers erase ada@example.org --dry-run", "crm customers erase ada@example.org --yes")
)
@click.argument("who", metavar="CUSTOMER")
@click.option("--dry-run", is_flag=True, help="Say what would be erased and what kept, and write nothing.")
@yes_option
def erase(who: str, dry_run: bool, yes: bool) -> None:
    """Erase a person, for good: no undo brings it back.

    Personal fields of every record about the person are emptied, in the ledger too; contact points, relations and tags
    go. The customer stays as a shell without a name, to which sales and deals belong. The receipt says what was kept
    and why, and stays in the ledger. By the whole id also of one who was deleted.
    """
    with workspace() as crm:
        customer_id, name = _person(crm, who)
        if not dry_run:
            confirm(f"Erase {name} ({format_id(customer_id)}) for good? This cannot be undone.", yes=yes)
        with progress(None, "erasing") as bar:
            erasure = crm.privacy.erase(customer_id, dry_run=dry_run, progress=bar.advance)
        data = {
            "dry_run": dry_run,
            "operation": None if erasure.operation_id is None else format_id(erasure.operation_id),
            "receipt": erasure.receipt.to_json(),
            "left_over": erasure.left_over,
            "not_noted": erasure.not_noted,
        }
        emit(data, lambda: _show(erasure, data["receipt"]))


def _person(crm: CRM, who: str) -> tuple[int, str]:
    """Return a customer's id and name; by the whole id also that of one who was deleted, and is in the ledger still."""
    try:
        customer = crm.customers.get(crm.resolve("customer", who))
    except NotFound:
        try:
            return parse_id(who), "a customer who was deleted"
        except InvalidValue:
            pass
        raise
    return customer.id, clean(label(customer))


def _show(erasure: Erasure, receipt: Any) -> None:
    done = erasure.receipt
    say(f"{'would erase' if erasure.dry_run else 'erased'} customer {done.person}")
    rows = [
        [name.replace("_", " "), f"{count:,}", f"emptied: {', '.join(done.fields.get(name, ())) or 'references'}"]
        for name, count in done.emptied.items()
    ]
    rows += [[name.replace("_", " "), f"{count:,}", "deleted"] for name, count in done.deleted.items()]
    rows += [["external ids", f"{done.external_ids:,}", "kept as digests, so that an import of them is refused"]]
    rows += [["images in the ledger", f"{done.images:,}", "emptied; what they would undo cannot be undone"]]
    table(["of", Column("count", right=True), Column("what happens", fit="wrap")], [r for r in rows if r[1] != "0"])
    heading("Kept, and why")
    kept = [[one.what.replace("_", " "), f"{one.count:,}", one.reason] for one in done.kept]
    table(["what", Column("count", right=True), Column("why", fit="wrap")], kept)
    if erasure.left_over:
        say(f"\nmay remain in the storage's files: {erasure.left_over}")
    if erasure.not_noted:
        say(f"\nshould the database be lost, a restored backup would bring the person back: {erasure.not_noted}")
    if not erasure.dry_run and erasure.operation_id is not None:
        say(f"\nreceipt {receipt['digest']}, kept in the ledger: crm ledger show {format_id(erasure.operation_id)}")


def _write_new(file: Path, text: str) -> None:
    """Write a file that only its owner reads, and nothing over one that is there.

    Raises:
        UsageError: there is one.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{file} is there already", hint="name another file, or delete that one first") from None
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
    if not session().json:
        note("It holds personal data: hand it over, then delete it.")
