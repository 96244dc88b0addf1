"""Rows as plain values, as they lie on disk while they are sorted, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from crm_core.extend import BadRow
from crm_transfer.errors import BadCell
from crm_transfer.rows import Row
from crm_transfer.sorting import Keyed


def content_of(found: Keyed) -> tuple[tuple[str, ...], int]:
    """Return the cells of a row and its number, by which the rows of a group are put in order."""
    return found[2][0], found[1]


def fault_of(error: BadCell) -> tuple[str, str, str, str]:
    """Return a refusal as plain values."""
    return error.rule, error.message, error.column, error.value


def unpacked(found: Keyed) -> Row | BadRow:
    """Return a row made of plain values again."""
    _, number, (cells, fault, bad) = found
    if bad:
        rule, message, column, value = fault
        return BadRow(number, list(cells), rule, message, column, value)
    row = Row(number, list(cells), number, number)
    if fault is not None:
        rule, message, column, value = fault
        row.error = BadCell(rule, message, column=column, value=value)
    return row


def by_key(ordered: Iterable[Keyed], most: int) -> Iterator[tuple[str, list[Keyed], bool]]:
    """Yield the rows of each key, and whether they are more than `most`: these come in slices."""
    key, found, too_many = "", list[Keyed](), False
    for each in ordered:
        if each[0] != key or len(found) > most:
            too_many = too_many or len(found) > most
            if found:
                yield key, found, too_many
            too_many = too_many and each[0] == key
            key, found = each[0], []
        found.append(each)
    if found:
        yield key, found, too_many or len(found) > most


def in_chunks(groups: Iterable[list[Row | BadRow]], size: Callable[[], int]) -> Iterator[list[Row | BadRow]]:
    """Yield chunks of whole groups."""
    chunk: list[Row | BadRow] = []
    for rows in groups:
        chunk += rows
        if len(chunk) >= size():
            yield chunk
            chunk = []
    if chunk:
        yield chunk
