"""What a customer bought: the lines of their sales, summed by product."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from crm_core import Money
from crm_core.events import ProfileWanted
from crm_core.query.functions import isum


def products_bought(event: ProfileWanted) -> list[Mapping[str, Any]]:
    """Return quantity and amount of a customer's sales by product and currency, without refunds and voided ones."""
    tables = event.crm.tables
    lines, sales, products = tables.sale_lines, tables.sales, tables.products
    query = (
        select(products.c.id, lines.c.amount_currency, isum(lines.c.quantity), isum(lines.c.amount))
        .select_from(
            lines.join(sales, sales.c.id == lines.c.sale_id).join(products, products.c.id == lines.c.product_id)
        )
        .where(sales.c.customer_id == event.customer.id, sales.c.kind == "sale", sales.c.voided_at.is_(None))
        .group_by(products.c.id, lines.c.amount_currency)
        .order_by(products.c.id, lines.c.amount_currency)
    )
    rows = event.crm.run(query)
    names = {product.id: product.name for product in event.crm.records("product").get_many([row[0] for row in rows])}
    return [
        {
            "product": names[product],
            "quantity": f"{Decimal(quantity).scaleb(-3).normalize():f}",
            "amount": Money.from_minor(amount, currency) if currency else None,
        }
        for product, currency, quantity, amount in rows
    ]
