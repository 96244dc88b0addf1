"""Tables: laid out to the width of a terminal, plain aligned text when piped, so that `grep` and `cut` work on them.

Laid out here and not by a library, because columns must say which of them give way: an id or an amount never does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Literal

import attrs

from crm_core.console.text import clip, isolate, pad, width

Fit = Literal["keep", "clip", "wrap"]
_GAP = "  "


@attrs.frozen
class Column:
    """A column: numbers stand to the right; where room is short, `fit` says how text shrinks, down to `least` cells."""

    title: str
    right: bool = False
    fit: Fit = "keep"
    least: int = 6


@attrs.frozen(kw_only=True)
class Layout:
    """Which columns are shown, how wide, and how many had no room."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]
    left_out: int = 0


def plain_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table as wide as its content."""
    lines = [[column.title for column in columns], *rows]
    widths = [max(width(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        yield _joined([pad(text, widths[at], right=columns[at].right) for at, text in enumerate(line)])


def terminal_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], layout: Layout) -> Iterator[list[str]]:
    """Yield, for each row, the lines it takes in a layout; right-to-left text is isolated in its cell."""
    for row in rows:
        cells = [_folded(columns[at], row[at], wide) for at, wide in zip(layout.columns, layout.widths, strict=True)]
        height = max(len(cell) for cell in cells)
        yield [
            _joined(
                [
                    _placed(cell[line] if line < len(cell) else "", wide, right=columns[at].right)
                    for cell, at, wide in zip(cells, layout.columns, layout.widths, strict=True)
                ]
            )
            for line in range(height)
        ]


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> Layout:
    """Choose widths so that a line fits into `room` cells: columns shrink, then the last ones are left out.

    >>> columns = [Column("id"), Column("name", fit="clip")]
    >>> lay_out(columns, [["7", "a long name indeed"]], 14).widths
    (2, 10)
    """
    natural = [max([width(column.title), *(width(row[at]) for row in rows)]) for at, column in enumerate(columns)]
    shown = list(range(len(columns)))
    while True:
        widths = _shrunk(columns, shown, natural, room - len(_GAP) * (len(shown) - 1))
        if widths is not None or len(shown) == 1:
            break
        shown.pop()
    chosen = widths if widths is not None else [min(natural[0], room)]
    return Layout(columns=tuple(shown), widths=tuple(chosen), left_out=len(columns) - len(shown))


def terminal_width() -> int:
    """Return how many cells a line of the terminal has."""
    return shutil.get_terminal_size((80, 24)).columns


def _shrunk(columns: Sequence[Column], shown: Sequence[int], natural: Sequence[int], room: int) -> list[int] | None:
    """Return widths within `room`, taken from the widest columns that give way; None when that is not enough."""
    widths = {at: natural[at] for at in shown}
    least = {
        at: min(natural[at], max(columns[at].least, width(columns[at].title)))
        for at in shown
        if columns[at].fit != "keep"
    }
    excess = sum(widths.values()) - room
    while excess > 0:
        able = [at for at in least if widths[at] > least[at]]
        if not able:
            return None
        widest = max(able, key=lambda at: widths[at])
        widths[widest] -= 1
        excess -= 1
    return list(widths.values())


def _folded(column: Column, text: str, cells: int) -> list[str]:
    if width(text) <= cells or column.fit != "wrap":
        return [clip(text, cells)]
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width(joined) <= cells:
            lines[-1] = joined
        else:
            lines.append(clip(word, cells))
    return lines


def _placed(text: str, cells: int, *, right: bool) -> str:
    space = " " * (cells - width(text))
    return space + isolate(text) if right else isolate(text) + space


def _joined(cells: Sequence[str]) -> str:
    return _GAP.join(cells).rstrip()
