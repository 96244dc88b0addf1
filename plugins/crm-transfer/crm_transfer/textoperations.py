"""The operations of expressions that make one text of others, as closures over a row's cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from crm_transfer.cells import without_guard
from crm_transfer.columns import Cells
from crm_transfer.expressions import Expression
from crm_transfer.patterns import matcher

Text = Callable[[Cells], str]
"""From a row's cells to a text, empty where there is none."""


def cell_text(at: int) -> Text:
    """Return the reader of one cell, trimmed and without the apostrophe of an export."""

    def read(cells: Cells) -> str:
        text = cells[at].strip()
        return without_guard(text) if text[:1] == "'" else text

    return read


def first_text(parts: Sequence[Text]) -> Text:
    """Return the reader of the first text that is not empty."""

    def read(cells: Cells) -> str:
        for part in parts:
            if text := part(cells):
                return text
        return ""

    return read


def _concat(made: Expression, parts: Sequence[Text]) -> Text:
    separator = made.option("separator", "")
    return lambda cells: separator.join(text for part in parts if (text := part(cells))).strip()


def _replace(made: Expression, parts: Sequence[Text]) -> Text:
    (text,), pairs = parts, made.option("with")

    def read(cells: Cells) -> str:
        found = text(cells)
        for old, new in pairs:
            found = found.replace(old, new)
        return found.strip()

    return read


def _split(made: Expression, parts: Sequence[Text]) -> Text:
    (text,), at, part = parts, made.option("at"), made.option("part")
    index = part - 1 if part > 0 else part

    def read(cells: Cells) -> str:
        pieces = text(cells).split(at)
        return pieces[index].strip() if -len(pieces) <= index < len(pieces) else ""

    return read


def _cut(made: Expression, parts: Sequence[Text]) -> Text:
    (text,), start, length = parts, made.option("start"), made.option("length")

    def read(cells: Cells) -> str:
        found = text(cells)
        first = start - 1 if start > 0 else max(len(found) + start, 0)
        return found[first : None if length is None else first + length].strip()

    return read


def _null_if(made: Expression, parts: Sequence[Text]) -> Text:
    (text,), texts, patterns = parts, frozenset(made.option("is", ())), made.option("like", ())
    fits = matcher(patterns) if patterns else None

    def read(cells: Cells) -> str:
        found = text(cells)
        return "" if found in texts or (fits is not None and fits(found)) else found

    return read


TEXTS: Final[dict[str, Callable[[Expression, Sequence[Text]], Text]]] = {
    "concat": _concat,
    "trim": lambda made, parts: lambda cells: " ".join(parts[0](cells).split()),
    "lower": lambda made, parts: lambda cells: parts[0](cells).lower(),
    "upper": lambda made, parts: lambda cells: parts[0](cells).upper(),
    "replace": _replace,
    "split": _split,
    "cut": _cut,
    "null_if": _null_if,
}
