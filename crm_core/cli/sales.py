"""`crm sales`: revenue, that is sales and the refunds taken off it."""

from __future__ import annotations

import attrs
import click

from crm_core.cli.opening import OpenGroup
from crm_core.cli.records import delete as delete_record
from crm_core.cli.records import emit_done, emit_record, find, given, list_records, parsed, with_assignments
from crm_core.console import confirm, examples, list_options, workspace, yes_option
from crm_core.records import Sale

_COLUMNS = ("sold_at", "kind", "customer_id", "amount", "deal_id", "owner_id", "voided_at")


@click.group(cls=OpenGroup)
def sales() -> None:
    """Keep sales and refunds: what revenue is counted from."""


@sales.command(
    "list",
    epilog=examples(
        "crm sales list --where 'sold_at >= 2026-01-01' --sort -amount",
        "crm sales list --where 'kind = \"refund\"' --json",
    ),
)
@click.option("--columns", metavar="FIELDS", default=",".join(_COLUMNS), help="Fields to show, by commas.")
@list_options
def list_(columns: str, where: str | None, sort: str | None, after: str | None, limit: int) -> None:
    """List sales and refunds, newest first."""
    with workspace() as crm:
        list_records(
            crm,
            "sale",
            columns.split(","),
            where=where,
            sort=sort,
            after=after,
            limit=limit,
            default_sort="-sold_at",
        )


@sales.command(epilog=examples("crm sales show 5XK3Q"))
@click.argument("reference", metavar="SALE")
def show(reference: str) -> None:
    """Show a sale whole."""
    with workspace() as crm:
        emit_record(crm, "sale", find(crm, "sale", reference))


@sales.command(
    epilog=examples(
        'crm sales add ada@example.org "120.50 EUR"',
        "crm sales add 5XK3Q ۱۲۰ --at 2026-11-02 --source web",
    )
)
@click.argument("customer")
@click.argument("amount")
@click.argument("values", nargs=-1, metavar="[FIELD=VALUE]...")
@click.option("--at", metavar="TIME", help="When it was sold; now, if left out.")
@click.option("--deal", metavar="DEAL", help="The deal it came from.")
@click.option("--margin", metavar="MONEY", help="What is left after direct costs.")
@click.option("--owner", metavar="USER", help="Who sold it.")
@click.option("--source", metavar="TEXT", help="Where it came from (marketing).")
def add(
    customer: str,
    amount: str,
    values: tuple[str, ...],
    at: str | None,
    deal: str | None,
    margin: str | None,
    owner: str | None,
    source: str | None,
) -> None:
    """Add a sale to CUSTOMER; AMOUNT without a code is in the workspace's currency."""
    typed = {
        "amount": amount,
        "sold_at": at,
        "deal_id": deal,
        "margin": margin,
        "owner_id": owner,
        "source": source,
    }
    with workspace() as crm:
        made = Sale(customer_id=crm.resolve("customer", customer), **given(crm, "sale", typed))
        complete = with_assignments(crm, "sale", made, values)
        if complete.sold_at is None:
            complete = attrs.evolve(complete, sold_at=crm.clock.now())
        emit_done(crm, "sale", crm.sales.add(complete), "added")


@sales.command(epilog=examples("crm sales void 5XK3Q --yes"))
@click.argument("reference", metavar="SALE")
@yes_option
def void(reference: str, yes: bool) -> None:
    """Take a sale out of all numbers, because it never was one; a refund is crm sales refund."""
    with workspace() as crm:
        sale = find(crm, "sale", reference)
        confirm(f"Void the sale of {sale.amount or 'an unknown amount'}?", yes=yes, undoable=True)
        emit_done(crm, "sale", crm.sales.void(sale), "voided")


@sales.command(epilog=examples("crm sales refund 5XK3Q", 'crm sales refund 5XK3Q "20 EUR" --at 2026-11-20'))
@click.argument("reference", metavar="SALE")
@click.argument("amount", required=False)
@click.option("--at", metavar="TIME", help="When it was refunded; now, if left out.")
def refund(reference: str, amount: str | None, at: str | None) -> None:
    """Refund a sale, whole or AMOUNT of it; it counts against revenue when it is paid back."""
    with workspace() as crm:
        back = crm.sales.refund(
            find(crm, "sale", reference),
            amount=parsed(crm, "sale", "amount", amount),
            at=parsed(crm, "sale", "sold_at", at),
        )
        emit_done(crm, "sale", back, "refunded:")


@sales.command(epilog=examples("crm sales delete 5XK3Q --yes"))
@click.argument("reference", metavar="SALE")
@yes_option
def delete(reference: str, yes: bool) -> None:
    """Delete a sale nothing refers to; undo brings it back."""
    with workspace() as crm:
        delete_record(crm, "sale", reference, yes=yes)
