"""`crm loyalty`: what a customer has, and spending it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from crm_core.console import Column, Number, emit, examples, moment, pairs, table, workspace
from crm_core.values import format_id

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.records import Customer


@click.group()
def loyalty() -> None:
    """Points of customers."""


@loyalty.command(epilog=examples("crm loyalty balance ada@example.org", "crm loyalty balance ada@example.org --json"))
@click.argument("customer")
def balance(customer: str) -> None:
    """Show the balance, the tier and the lots of CUSTOMER (an id, an e-mail, a phone or a name)."""
    with workspace() as crm:
        _show(crm, crm.customers.get(crm.resolve("customer", customer)))


@loyalty.command(epilog=examples('crm loyalty redeem ada@example.org 120 --note "a book"'))
@click.argument("customer")
@click.argument("points", type=Number(1))
@click.option("--note", metavar="TEXT", help="What the points were given for.")
def redeem(customer: str, points: int, note: str | None) -> None:
    """Spend POINTS of CUSTOMER, oldest first."""
    from crm_loyalty.accounts import redeem

    with workspace() as crm:
        _show(crm, redeem(crm, crm.resolve("customer", customer), points, note))


def _show(crm: CRM, customer: Customer) -> None:
    from crm_loyalty.accounts import entries_of
    from crm_loyalty.lots import lots_of
    from crm_loyalty.records import Loyalty

    held = customer.ext(Loyalty)
    lots = lots_of(entries_of(crm, customer.id))
    data: dict[str, Any] = {
        "customer": {"id": format_id(customer.id), "label": customer.name},
        "points": held.points or 0,
        "tier": held.tier,
        "lots": [{"at": lot.at.isoformat(), "earned": lot.earned, "left": lot.left} for lot in lots],
    }

    def show() -> None:
        pairs([("customer", customer.name or format_id(customer.id)), ("points", f"{held.points or 0:,}")])
        pairs([("tier", held.tier or "none yet")])
        if lots:
            rows = [[moment(lot.at, crm.zone), f"{lot.earned:,}", f"{lot.left:,}"] for lot in lots]
            table([Column("since"), Column("earned", right=True), Column("left", right=True)], rows)

    emit(data, show)
