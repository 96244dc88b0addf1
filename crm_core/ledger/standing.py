"""Where subscribers stand: how far behind each is, what it fails on, and what was given up on for it.

Read from a storage alone, so that it can be shown while no CRM is open on it, or a plugin is broken.
"""

from __future__ import annotations

import attrs

from crm_core.extend import Storage
from crm_core.ledger.leases import Cursor
from crm_core.ledger.tables import CURSORS, FORGOTTEN, HEAD, PARKED
from crm_core.query.ast import IsNull
from crm_core.records.schema import Row


@attrs.frozen
class Parked:
    """A transaction that a subscriber failed on time and again, and was passed over; `at` in microseconds."""

    id: int
    plugin: str
    hook: str
    position: int
    at: int
    error: str

    def row(self, settled_at: int | None = None) -> Row:
        """Return it as a row of its table."""
        return (*attrs.astuple(self), settled_at)


@attrs.frozen(kw_only=True)
class Standing:
    """One subscriber: it was told of everything up to `position`, and the ledger goes on for `behind` transactions.

    `attempts` were made at the next one, which is tried again at `next_at` (microseconds); `error` is of the last one.
    """

    plugin: str
    hook: str
    position: int
    behind: int
    attempts: int
    next_at: int
    error: str | None
    parked: tuple[Parked, ...]


def parked_in(storage: Storage) -> list[Parked]:
    """Return what was given up on, oldest first."""
    return [Parked(*row[:-1]) for row in storage.find(PARKED.name, IsNull("settled_at"))]  # type: ignore[arg-type]


def standings(storage: Storage) -> list[Standing]:
    """Return where every subscriber stands, those of plugins that are gone too; none in a database without tables."""
    stored = storage.schema()
    known = None if stored is None else stored.tables.get(PARKED.name)
    if known is None or known.column_names != PARKED.column_names:
        return []  # a database that is to be upgraded first
    heads = storage.get_many(HEAD.name, [1])
    head = int(heads[0][1] or 0) if heads else 0
    parked = parked_in(storage)
    cursors = [Cursor(*row) for row in storage.find(CURSORS.name)]  # type: ignore[arg-type]
    return [
        Standing(
            plugin=cursor.plugin,
            hook=cursor.hook,
            position=cursor.position,
            behind=max(0, head - cursor.position),
            attempts=cursor.attempts,
            next_at=cursor.next_at,
            error=cursor.error if cursor.attempts else None,
            parked=tuple(one for one in parked if (one.plugin, one.hook) == (cursor.plugin, cursor.hook)),
        )
        for cursor in cursors
        if cursor.position != FORGOTTEN
    ]
