"""Reading images of the ledger as rows: in pages, and by the personal values they hold."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Set
from typing import Final, cast

from crm_core.extend import Storage
from crm_core.ledger.tables import IMAGES
from crm_core.query.ast import And, Compare, Contains, Expression, In, Or, SortKey
from crm_core.records import RecordType
from crm_core.records.schema import Row

_BATCH: Final = 1_000
_PAGE: Final = 10_000
"""Images that are read at once: each page costs a look at all of the table's."""
_FEW: Final = 50
"""Ids that a database is asked to look for in the text of images."""


def personal_columns(kind: RecordType) -> frozenset[str]:
    """Return the columns of a type's personal fields, with those that go with them.

    Tags have no column; images note them by the name of the field.
    """
    personal = [field for field in kind.fields.values() if field.declaration.personal]
    noted = {field.name for field in personal if field.declaration.kind == "tags"}
    return frozenset(column.name for field in personal for column in field.codec.columns) | noted


def holds(image: Row, columns: Set[str]) -> bool:
    """Whether an image says anything of these columns."""
    content = json.loads(str(image[5])) or {}
    return any(content[column] not in (None, [None, None]) for column in columns & content.keys())


def pieces(column: str, ids: Set[int]) -> Iterator[In]:
    """Yield conditions that together ask for all of these ids."""
    ordered = sorted(ids)
    for at in range(0, len(ordered), _BATCH):
        yield In(column, tuple(ordered[at : at + _BATCH]))


def naming(ids: Collection[int]) -> list[Expression]:
    """Return a condition that leaves, of images, those that name one of a few ids; nothing where there are many.

    The database looks for their digits in less time than it takes to hand over an image: it may leave a few too many.
    """
    return [Or(tuple(Contains("content", str(one)) for one in sorted(ids)))] if 0 < len(ids) <= _FEW else []


def paged(storage: Storage, where: Expression) -> Iterator[list[Row]]:
    """Yield the rows of images in batches, oldest first."""
    last = 0
    while True:
        rows = storage.find(IMAGES.name, And((where, Compare("id", ">", last))), sort=[SortKey("id")], limit=_PAGE)
        if rows:
            yield rows
        if len(rows) < _PAGE:
            return
        last = cast(int, rows[-1][0])


__all__ = ["holds", "naming", "paged", "personal_columns", "pieces"]
