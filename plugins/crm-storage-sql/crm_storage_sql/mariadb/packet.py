"""What MariaDB takes in one statement: a larger one is refused before it is sent, and its longest text is named.

The server would break the connection in the middle of it, and say no more than that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from crm_core.records.schema import Row
from crm_core.values import format_id

LARGE: Final = 1 << 19
"""The bytes of a statement from which on the limit is asked for: most servers take thirty times as much."""
_SET: Final = re.compile(r'"((?:[^"]|"")+)" = %s')


class TooLong(Exception):
    """A statement is larger than the server takes; `where` names what is long in it, as far as that is known."""

    def __init__(self, size: int, limit: int, where: str = "") -> None:
        super().__init__(
            f"{where or 'a statement'} is too long: the statement has {size:,} bytes, and this server takes {limit:,} "
            "(its max_allowed_packet); nothing of the transaction is kept"
        )
        self.size = size
        self.limit = limit
        self.hint = (
            "shorten the text, or keep it as a file and note where; or have the server's administrator set "
            f"max_allowed_packet above {size:,}, then try again"
        )


def in_rows(error: Exception, table: str, columns: Sequence[str], rows: Sequence[Row]) -> Exception:
    """Return the error with the record and column of the longest text among rows; any other error as it is."""
    if not isinstance(error, TooLong):
        return error
    return TooLong(error.size, error.limit, _longest(table, [dict(zip(columns, row, strict=True)) for row in rows]))


def in_step(error: Exception, table: str, statement: str, parameters: Sequence[Any]) -> Exception:
    """Return the error with the record and column of the longest text that an UPDATE sets; any other as it is."""
    if not isinstance(error, TooLong):
        return error
    names = [*_SET.findall(statement), "id"]
    return TooLong(error.size, error.limit, _longest(table, [dict(zip(names, parameters, strict=False))]))


def _longest(table: str, rows: Sequence[Mapping[str, Any]]) -> str:
    sizes = (
        (len(cell.encode()), name, row.get("id")) for row in rows for name, cell in row.items() if isinstance(cell, str)
    )
    size, name, id_ = max(sizes, default=(0, "", None), key=lambda one: one[0])
    record = f"{table} {format_id(id_)}" if isinstance(id_, int) and 0 < id_ < 2**63 else table
    return f"{record}: {name} with {size:,} bytes" if name else ""
