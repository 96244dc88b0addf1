"""A row on its way through an import, and the group it may belong to."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from crm_transfer.conflicts import Kept
from crm_transfer.errors import BadCell


@attrs.define
class Row:
    """A row on its way: `error` refuses it, `status` says what became of its records, `waiting` which of them wait.

    `order` is its place among the rows of the run: its line, or where its group and its line within it come. Rows of
    one group have one `turn`: they may point at what any of them makes, as a row at what it makes itself. `follows`
    says that it is refused only because another row of the chunk was. `line` tells its line from others of the group.
    `kept` are the fields that a policy left as they are in the CRM. `stored` are, of a row of which a record waits, the
    id of each record that was written, and its version before (0: there was none) and after.
    """

    number: int
    cells: list[str]
    order: int
    turn: int
    error: BadCell | None = None
    follows: bool = False
    status: dict[int, str] = attrs.field(factory=dict)
    waiting: frozenset[int] = frozenset()
    group: Group | None = None
    line: str = ""
    kept: tuple[Kept, ...] = ()
    stored: dict[int, tuple[int, int, int]] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Group:
    """Rows that are taken together; `matched` is what was found for them, by match.

    `told` are the numbers of rows whose refusal was acted on, `at_first` of those refused before a look-up.
    """

    key: str
    rows: list[Row]
    matched: dict[str, str] = attrs.field(factory=dict)
    told: set[int] = attrs.field(factory=set)
    at_first: frozenset[int] = frozenset()


def groups_of(rows: Iterable[Row]) -> list[Group]:
    """Return the groups that rows belong to, each once."""
    return list({id(row.group): row.group for row in rows if row.group is not None}.values())
