"""Columns that are aligned by spaces, as statistics programs and terminals write them, read as if tabs parted them.

A line with a tab in it is left as it is: so is the file of rejected rows, whose cells may have spaces in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

ONE: Final = "spaces"
TWO: Final = "2 spaces"
"""One or more spaces between two cells; two or more, where cells have single ones in them."""
_RUNS: Final = {ONE: re.compile(" +"), TWO: re.compile("  +")}


def guess_spaces(sample: Sequence[str]) -> str:
    """Return which spaces part the cells of the first lines into equally many; empty where none do, or one column.

    Only where half of the lines have several spaces together: two words a line are no two columns.

    >>> guess_spaces(["id   city", "1    Rome", "22   Oslo"]), guess_spaces(["full name", "Ada Lovelace"])
    ('spaces', '')
    """
    lines = [line.strip() for line in sample if line.strip()]
    if len(lines) < 2 or 2 * sum("  " in line for line in lines) < len(lines) or any("\t" in line for line in lines):
        return ""
    for name, run in _RUNS.items():
        widths = {len(run.split(line)) for line in lines}
        if len(widths) == 1 and widths != {1}:
            return name
    return ""


def looks_aligned(sample: Sequence[str]) -> bool:
    """Say whether most of the first lines, the very first one among them, have several spaces between their words."""
    lines = [line.strip() for line in sample if line.strip()]
    return len(lines) > 1 and "  " in lines[0] and 3 * sum("  " in line for line in lines) > 2 * len(lines)


def with_tabs(lines: Iterable[str], spaces: str) -> Iterator[str]:
    """Return lines with a tab in the place of the spaces that part cells."""
    run = _RUNS[spaces]
    for line in lines:
        bare = line.strip(" \r\n")
        yield line if "\t" in line or not bare else run.sub("\t", bare) + "\n"
