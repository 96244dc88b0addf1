"""Finds the sales that never were or were given back as a whole: cancelled, failed, refunded orders are no revenue."""

from __future__ import annotations

from collections import Counter
from typing import Final

from crm_transfer.guess.columns import Seen
from crm_transfer.guess.drafting import Sheet
from crm_transfer.guess.toml import source, texts
from crm_transfer.guess.words import VOIDED_ON, is_called, is_status, says_void
from crm_transfer.toml import quoted

_MOST: Final = 40
"""How many different values a column of states has at most."""


def voids(sheet: Sheet) -> None:
    """Void the sales of a file that a column calls cancelled, once their own day is known; ask about it."""
    if sheet.kind.name != "sale" or "voided_at" in sheet.taken:
        return
    day = next((seen for seen in sheet.left if seen.kind == "date" and is_called(seen.name, VOIDED_ON, "sale")), None)
    status = next(filter(_has_voids, sheet.left), None)
    if day is not None:
        form = quoted(day.format) if day.format else ""
        sheet.put("voided_at", source(day.name, format=form), "medium: what was cancelled is no revenue")
        sheet.done(day, "sale.voided_at", "medium", "what was cancelled is no revenue")
    if status is None:
        return
    counts = Counter(value for value in status.values if says_void(value))
    told = ", ".join(f"{value!r} ({count:,})" for value, count in counts.most_common())
    sold = next((field for field in sheet.main.fields if field[0] == "sold_at"), None)
    if day is not None:
        sheet.ask(status, f"{told}: are these sales voided? only those with a day in {quoted(day.name)} are")
    elif sold is None:
        sheet.ask(status, f"{told}: these sales count as revenue; leave them out by a [[rule]], or map voided_at")
    else:
        sheet.put("voided_at", _when_said(status, list(counts), sold[1]), "medium: what was cancelled is no revenue")
        sheet.ask(status, f"{told}: these sales are taken for voided on their own day, and are no revenue")


def _has_voids(seen: Seen) -> bool:
    is_listed = seen.kind == "text" and len(seen.distinct) <= _MOST and is_status(seen.name)
    return is_listed and any(map(says_void, seen.distinct))


def _when_said(status: Seen, said: list[str], sold: str) -> str:
    """Return where the day of voiding is read from: that of the sale, in the rows that say so."""
    when = f"{{ column = {quoted(status.name)}, is = {texts(said)} }}"
    column, more = sold, ""
    if sold.startswith("{"):  # { column = "Datum", format = "..." }, or { value = ..., format = "..." }
        head, _, rest = sold[1:-1].strip().partition(", format = ")
        column, more = head.partition(" = ")[2], f", format = {rest.strip()}" if rest else ""
    return f'{{ value = {{ choose = [{{ when = {when}, then = {column} }}], else = {{ const = "" }} }}{more} }}'
