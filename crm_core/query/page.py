"""Cursors of keyset pages: the sort values and the id of a page's last row, as text that survives a command line."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Final

from crm_core.errors import UsageError
from crm_core.query.ast import SortKey
from crm_core.records.schema import ColumnType, Primitive, Row

_NEVER_STORED: Final = re.compile("[\0\ud800-\udfff]")


def encode_cursor(sort: Sequence[SortKey], row: Row, columns: Sequence[str]) -> str:
    """Return the cursor of the page that follows `row`."""
    place = {name: index for index, name in enumerate(columns)}
    values = [row[place[key.column]] for key in sort]
    content = json.dumps([*values, row[place["id"]]], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, types: Sequence[ColumnType]) -> tuple[Primitive, ...]:
    """Return the sort values and the id that a cursor holds.

    Args:
        cursor: what `encode_cursor` returned, or what somebody made up.
        types: the types of the columns that are sorted by, in order.

    Raises:
        UsageError: it is no cursor, or one of another sort order.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _not_a_cursor(cursor) from error
    if not isinstance(values, list) or len(values) != len(types) + 1 or values[-1] is None:
        raise _not_a_cursor(cursor)
    if not all(_is_cell(value, type_) for value, type_ in zip(values, [*types, "int"], strict=True)):
        raise _not_a_cursor(cursor)
    return tuple(values)


def _is_cell(value: object, type_: str) -> bool:
    """Say whether a column of that type may hold a value; about others each database has its own idea."""
    if value is None:
        return True
    if type_ == "int":
        return type(value) is int and -(2**63) <= value < 2**63
    return isinstance(value, str) and not _NEVER_STORED.search(value)


def _not_a_cursor(cursor: str) -> UsageError:
    hint = "pass --after exactly as the page before printed it, with the same --sort"
    return UsageError(f"{cursor[:40]!r} is no cursor of this list", hint=hint)
