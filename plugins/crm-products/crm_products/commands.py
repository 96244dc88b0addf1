"""`crm products`: the catalogue."""

from __future__ import annotations

import click

from crm_core.console import MISSING, Column, emit, examples, list_options, note, say, table, workspace
from crm_core.errors import UsageError
from crm_core.records.json import record_json
from crm_core.values import format_id
from crm_products.records import Product


@click.group()
def products() -> None:
    """See the catalogue and add to it."""


@products.command("list", epilog=examples("crm products list", "crm products list --where 'series = \"GTX\"' --json"))
@list_options
def list_(where: str | None, sort: str | None, limit: int, after: str | None) -> None:
    """List products."""
    with workspace() as crm:
        page = crm.records(Product).find(where, sort=sort or "name", limit=limit, after=after)
        shown = [record_json(crm.registry.types["product"], product) for product in page]

        def show() -> None:
            heads: list[Column | str] = [
                "id",
                "code",
                Column("name", fit="clip"),
                "series",
                Column("price", right=True),
                "active",
            ]
            rows = [
                [
                    format_id(product.id),
                    product.code or MISSING,
                    product.name,
                    product.series or MISSING,
                    str(product.price) if product.price is not None else MISSING,
                    "yes" if product.active else "no",
                ]
                for product in page
            ]
            table(heads, rows)
            if not rows:
                say(
                    "No product matches."
                    if where
                    else 'No product yet; add one: crm products add "Lamp" --price "12.50 EUR"'
                )

        emit(shown, show)
        if page.next:
            note(f"There are more: --after {page.next}")


@products.command(epilog=examples('crm products add "Desk lamp" --code L-1 --price "12.50 EUR" --series Lamps'))
@click.argument("name")
@click.option("--code", help="How the catalogue names it.")
@click.option("--price", metavar="AMOUNT", help='With its currency: "12.50 EUR"; without one, the workspace\'s.')
@click.option("--series", help="The series it belongs to.")
@click.option("--category", help="The category it belongs to.")
def add(name: str, code: str | None, price: str | None, series: str | None, category: str | None) -> None:
    """Add a product."""
    from crm_core import Money

    with workspace() as crm:
        amount = None
        if price is not None:
            parts = price.split()
            if len(parts) not in (1, 2):
                raise UsageError(f"--price: {price!r} is no amount", hint='such as "12.50 EUR"')
            amount = Money(parts[0], parts[1].upper() if len(parts) == 2 else crm.settings.currency)
        product = crm.records(Product).add(
            Product(name=name, code=code, price=amount, series=series, category=category)
        )
        emit(
            record_json(crm.registry.types["product"], product),
            lambda: say(f"{product.name} is product {format_id(product.id)}"),
        )
