"""Rows of a CSV file that is still written: what is whole, and where each one begins."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from io import StringIO
from typing import Final

import attrs

_LINES: Final = 40
"""Lines of a row at most; an open quotation mark that goes on for longer is a fault of its row alone."""
_QUOTE: Final = b'"'


@attrs.frozen
class Row:
    """One row: its values, None where it is none, and the bytes from `start` to `end`."""

    values: list[str] | None
    start: int
    end: int


def rows_in(content: bytes, *, delimiter: str, encoding: str, columns: int) -> Iterator[Row]:
    """Yield the rows of whole lines; one whose quotation marks are still open at the end is left for later.

    A row may have line breaks in quotation marks. One that was broken off within them would take the rows behind it
    with it: it ends where a line is a row of at least `columns` values by itself.
    """
    lines = _lines(content)
    at = number = 0
    while number < len(lines):
        joined, taken = lines[number], 1
        while joined.count(_QUOTE) % 2 and taken < _LINES:
            if number + taken == len(lines):
                return
            following = lines[number + taken]
            if len(_values(following, delimiter, encoding) or ()) >= columns and not following.count(_QUOTE) % 2:
                break
            joined, taken = joined + following, taken + 1
        if joined.count(_QUOTE) % 2:  # broken off
            joined, taken = lines[number], 1
            yield Row(None, at, at + len(joined))
        else:
            yield Row(_values(joined, delimiter, encoding), at, at + len(joined))
        at, number = at + len(joined), number + taken


def _lines(content: bytes) -> list[bytes]:
    """Part a text at its newlines only: a carriage return may stand in a value."""
    return [part + b"\n" for part in content.split(b"\n")[:-1]]


def _values(line: bytes, delimiter: str, encoding: str) -> list[str] | None:
    text = line.decode(encoding, "replace").removeprefix("\ufeff").rstrip("\r\n")
    if not text.strip():
        return None
    try:
        (values,) = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    except (csv.Error, ValueError):
        return None
    return values
