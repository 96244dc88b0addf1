"""Products: a catalogue, and lines of deals and sales for crm-core."""

from __future__ import annotations

from crm_products.records import DealLine, Product, SaleLine

__all__ = ["DealLine", "Product", "SaleLine"]
__version__ = "0.1.0"
