"""Cursors of keyset pages: the sort values and the id of a page's last row, as text that survives a command line."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from crm_core.errors import UsageError
from crm_core.query.ast import SortKey
from crm_core.records.schema import Primitive, Row


def encode_cursor(sort: Sequence[SortKey], row: Row, columns: Sequence[str]) -> str:
    """Return the cursor of the page that follows `row`."""
    place = {name: index for index, name in enumerate(columns)}
    values = [row[place[key.column]] for key in sort]
    content = json.dumps([*values, row[place["id"]]], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, sort: Sequence[SortKey]) -> tuple[Primitive, ...]:
    """Return the sort values and the id that a cursor holds.

    Raises:
        UsageError: it is no cursor, or one of another sort order.
    """
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise _not_a_cursor(cursor) from error
    fits = isinstance(values, list) and len(values) == len(sort) + 1 and isinstance(values[-1], int)
    if not fits or any(not isinstance(value, (int, str, type(None))) for value in values):
        raise _not_a_cursor(cursor)
    return tuple(values)


def _not_a_cursor(cursor: str) -> UsageError:
    hint = "pass --after exactly as the page before printed it, with the same --sort"
    return UsageError(f"{cursor[:40]!r} is no cursor of this list", hint=hint)
