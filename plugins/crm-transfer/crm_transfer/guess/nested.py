"""Columns of records inside of a record, as Odoo exports them, "order_line/product_id", and rows of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import attrs

from crm_core.extend import BadRow, SourceRow
from crm_transfer.guess.toml import texts
from crm_transfer.toml import quoted

_LINES: Final = (
    "order_line order_lines orderline orderlines order_line_ids invoice_line_ids invoice_lines invoice_line line_ids "
    "lines move_line_ids auftragszeilen auftragspositionen bestellzeilen rechnungszeilen rechnungspositionen "
    "lignes_de_commande lignes_de_la_commande lignes_de_facture líneas_de_pedido líneas_del_pedido "
    "líneas_de_factura строки_заказа позиции_заказа строки_счета سطرهای_سفارش ردیف_های_سفارش պատվերի_տողեր"
)
"""What the lines of an order are called in front of the names of their columns."""


@cache
def without_path(name: str) -> str:
    """Return what a column of a nested record is called there; any other name as it is.

    >>> without_path("order_line/product_id/default_code"), without_path("partner_id/id"), without_path("City/State")
    ('product default_code', 'partner_id', 'City/State')
    """
    if "/" not in name:
        return name
    head, _, rest = name.partition("/")
    if "_".join(head.casefold().replace("\u200c", " ").split()) in _LINES.split():
        return without_path(rest)
    if not head.endswith("_id"):
        return name
    return head if rest in ("id", ".id") else f"{head.removesuffix('_id')} {without_path(rest)}"


@attrs.frozen(kw_only=True)
class Nested:
    """Rows that go on with the one above, by number, and the columns of that one, which they leave empty."""

    shared: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    going_on: frozenset[int] = frozenset()

    def filled(self) -> list[str]:
        """Return the line of `[file]` by which these rows get what they share; none where there are no such rows."""
        said = f"fill_down = {texts(self.shared)}  # high: rows without them have only columns of nested records"
        return [said] if self.shared else []

    def left_out(self) -> list[str]:
        """Return the rule that leaves these rows out."""
        empty = ", ".join(f"{{ column = {quoted(name)}, given = false }}" for name in self.shared)
        why = "skip = true  # high: they have only columns of nested records"
        return ["", "[[rule]]", 'name = "nested"', f"when = [{empty}]", why]

    def question(self, names: Sequence[str]) -> str:
        """Say what is left out."""
        nested = ", ".join(quoted(name) for name in names if name not in self.shared)
        return (
            f"{len(self.going_on):,} of the rows only go on with the record above, and a rule leaves them out; the "
            f"columns of their records are not read: {nested}; export these as a file of their own"
        )


def find_nested(names: Sequence[str], rows: Sequence[SourceRow | BadRow]) -> Nested:
    """Find the columns that stand in the first row of a record alone, its other rows having nested ones.

    >>> rows = [SourceRow(2, ["1", "A", "x"]), SourceRow(3, ["", "", "y"]), SourceRow(4, ["2", "B", "x"])]
    >>> find_nested(["id", "name", "lines/sku"], rows).shared
    ('id', 'name')
    """
    plain = [at for at, name in enumerate(names) if "/" not in name.strip("/")]
    good = [row for row in rows if isinstance(row, SourceRow)]
    if not plain or len(plain) == len(names) or not good or not any(good[0].cells[at].strip() for at in plain):
        return Nested()
    going_on = [row for row in good if not any(row.cells[at].strip() for at in plain)]
    if not going_on:
        return Nested()
    places = tuple(at for at in range(len(names)) if not any(row.cells[at].strip() for row in going_on))
    numbers = frozenset(row.number for row in going_on)
    return Nested(shared=tuple(names[at] for at in places), places=places, going_on=numbers)
