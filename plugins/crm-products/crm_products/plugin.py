"""What crm-products brings to a CRM: record types, a section of the 360 view, commands."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import Record, hookimpl
from crm_core.extend import Command, ProfileSection
from crm_products.records import DealLine, Product, SaleLine


class ProductsPlugin:
    """The catalogue, and lines of deals and sales."""

    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        """Add products, deal lines and sale lines."""
        return [Product, DealLine, SaleLine]

    @hookimpl
    def register_profile_sections(self) -> Iterable[ProfileSection]:
        """Show a customer's products."""
        from crm_products.bought import products_bought

        return [ProfileSection(name="products", title="Products bought", build=products_bought)]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add `crm products`."""
        return [
            Command(
                name="products", help="The catalogue: list and add products.", target="crm_products.commands:products"
            )
        ]


plugin = ProductsPlugin()
