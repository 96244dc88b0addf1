"""Finds the sales that never were or were given back as a whole: cancelled, failed, refunded orders are no revenue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
    status = next(filter(voided, sheet.left), None)
    sold = next((field for field in sheet.main.fields if field[0] == "sold_at"), None)
    if day is not None and status is not None and sold is not None and _is_read_alike(day, sold[1]):
        words = list(voided(status))
        plain, more = _read_from(sold[1])
        said = f"{{ column = {quoted(status.name)}, is = {texts(words)} }}"
        there = f"{{ column = {quoted(day.name)}, given = true }}"
        chosen = f"{{ when = {there}, then = {quoted(day.name)} }}, {{ when = {said}, then = {plain} }}"
        value = f'{{ value = {{ choose = [{chosen}], else = {{ const = "" }} }}{more} }}'
        sheet.put("voided_at", value, "medium: what was cancelled is no revenue")
        sheet.done(day, "sale.voided_at", "medium", "what was cancelled is no revenue")
        told = ", ".join(f"{word!r} ({count:,})" for word, count in voided(status).items())
        sheet.ask(status, f"{told}: where {quoted(day.name)} is empty they are taken for voided on the day of the sale")
        return
    if day is not None:
        form = quoted(day.format) if day.format else ""
        sheet.put("voided_at", source(day.name, format=form), "medium: what was cancelled is no revenue")
        sheet.done(day, "sale.voided_at", "medium", "what was cancelled is no revenue")
    if status is None:
        return
    counts = voided(status)
    told = ", ".join(f"{value!r} ({count:,})" for value, count in counts.items())
    if day is not None:
        sheet.ask(status, f"{told}: are these sales voided? only those with a day in {quoted(day.name)} are")
    elif sold is None:
        sheet.ask(status, f"{told}: these sales count as revenue; leave them out by a [[rule]], or map voided_at")
    else:
        sheet.put("voided_at", _when_said(status, list(counts), sold[1]), "medium: what was cancelled is no revenue")
        sheet.ask(status, f"{told}: these sales are taken for voided on their own day, and are no revenue")


def _read_from(sold: str) -> tuple[str, str]:
    """Return the expression from which the day of a sale is read, and the rest of its table: its format and zone."""
    if not sold.startswith("{"):
        return sold, ""
    inner = sold[1:-1].strip()  # column = "Datum", format = "...", or value = ...
    at = min((found for key in (", format = ", ", zone = ") if (found := inner.find(key)) >= 0), default=len(inner))
    return inner[:at].partition(" = ")[2], inner[at:]


def _is_read_alike(day: Seen, sold: str) -> bool:
    """Say whether a column of days is written as those of the sales, so that one field can have either."""
    form = f", format = {quoted(day.format)}" if day.format else ""
    return not sold.startswith("{ value") and _read_from(sold)[1] == form


def voided(seen: Seen) -> dict[str, int]:
    """Return the words of a column of states that say that there was no sale, with their rows, the most first."""
    if seen.kind != "text" or len(seen.distinct) > _MOST or not is_status(seen.name):
        return {}
    return dict(Counter(value for value in seen.values if says_void(value)).most_common())


def _when_said(status: Seen, said: list[str], sold: str) -> str:
    """Return where the day of voiding is read from: that of the sale, in the rows that say so."""
    when = f"{{ column = {quoted(status.name)}, is = {texts(said)} }}"
    column, more = _read_from(sold)
    return f'{{ value = {{ choose = [{{ when = {when}, then = {column} }}], else = {{ const = "" }} }}{more} }}'


def void_lines(sheet: Sheet, varying: Sequence[Seen]) -> list[tuple[str, str, str]]:
    """Return rules (name, condition, remark) for the lines that a column of their own calls cancelled or given back."""
    rules = []
    for seen in varying:
        if counts := voided(seen):
            told = ", ".join(f"{value!r} ({count:,})" for value, count in counts.items())
            rules.append(
                (f"no sales by {seen.name}", f"{{ column = {quoted(seen.name)}, is = {texts(counts)} }}", told)
            )
            sheet.ask(seen, f"{told}: lines that say so are left out, since they are no revenue")
    return rules
