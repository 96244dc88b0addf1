"""Products, and the lines of deals and sales that name them."""

from __future__ import annotations

from decimal import Decimal

from crm_core import Money, Record
from crm_core.records import boolean, decimal, money, record, reference, text


@record("product", label="Product")
class Product(Record):
    """Something that is sold: `code` is how the catalogue names it, `price` its list price."""

    name: str = text("Name", key=True)
    code: str | None = text("Code", default=None, max_length=100, unique=True)
    price: Money | None = money("List price", default=None)
    series: str | None = text("Series", default=None, max_length=200)
    category: str | None = text("Category", default=None, max_length=200, indexed=True)
    active: bool = boolean("Active", default=True)


@record("deal_line", label="Deal line")
class DealLine(Record):
    """A product in a deal: `amount` is that of the whole line, unknown while the deal is open."""

    deal_id: int = reference("deal", "Deal")
    product_id: int = reference("product", "Product")
    quantity: Decimal = decimal("Quantity", scale=3, default=Decimal(1))
    amount: Money | None = money("Amount", default=None)


@record("sale_line", label="Sale line")
class SaleLine(Record):
    """A product in a sale: `amount` is that of the whole line."""

    sale_id: int = reference("sale", "Sale")
    product_id: int = reference("product", "Product")
    quantity: Decimal = decimal("Quantity", scale=3, default=Decimal(1))
    amount: Money | None = money("Amount", default=None)
