"""Which consents are withdrawn, as a database says, and which of them a restored backup is still to be told.

A backup that was made before somebody said no does not know of it. So whoever restores one compares what it says with
the database that it replaces, and notes what it lacks in the same step in which the backup takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import attrs

from crm_core.extend import Storage
from crm_core.ledger.erasures import PENDING, Erased, noted_cells, read_pending
from crm_core.ledger.tables import CURSORS
from crm_core.query.ast import Compare
from crm_core.records.schema import Primitive

FORGOTTEN_CONSENTS: Final = 2
"""The id of the row that says which consents are still to be withdrawn again; see `erasures.PENDING`."""
CONSENTS: Final = "consents"
WITHDRAWN: Final = "withdrawn"
_HOOK: Final = "withdraw_again"
_NOTES: Final = (PENDING, FORGOTTEN_CONSENTS)
_COLUMNS: Final = ("contact_point_id", "purpose", "at", "at_is_date", "source", "text_version")

Consented = tuple[int, str]
"""What a consent is about: a contact point, and a purpose."""


@attrs.frozen
class Withdrawal:
    """A consent that was withdrawn: of which contact point, for what, when, and what told of it.

    `at` is in microseconds, that of the local midnight where only the day is known (`at_is_date`).
    """

    contact_point_id: int
    purpose: str
    at: int
    at_is_date: int
    source: str | None = None
    text_version: str | None = None

    @property
    def about(self) -> Consented:
        """What it is about."""
        return self.contact_point_id, self.purpose


def withdrawn_in(storage: Storage) -> list[Withdrawal]:
    """Return the consents of which the latest entry is a withdrawal; none where there are no tables."""
    stored = storage.schema()
    if stored is None or CONSENTS not in stored.tables:
        return []
    found: dict[Consented, tuple[int, int, Withdrawal]] = {}
    rows = storage.find(CONSENTS, Compare("status", "=", WITHDRAWN), columns=["id", *_COLUMNS])
    for id_, *cells in cast(Any, rows):
        one = Withdrawal(*cells)
        if one.about not in found or (one.at, id_) > found[one.about][:2]:
            found[one.about] = (one.at, id_, one)
    for batch in storage.scan(CONSENTS, ("contact_point_id", "purpose", "at", "id")) if found else ():
        for point, purpose, at, id_ in cast(Any, batch):
            if (point, purpose) in found and (at, id_) > found[point, purpose][:2]:
                del found[point, purpose]
    return [one for _, _, one in found.values()]


def pending_withdrawals(storage: Storage) -> list[Withdrawal]:
    """Return the consents that are to be withdrawn again in a restored database."""
    return left_by_restore(storage)[1]


def left_by_restore(storage: Storage) -> tuple[list[Erased], list[Withdrawal]]:
    """Return, by one read, the erasures that are to be repeated in a restored database, and the withdrawals."""
    names = CURSORS.column_names
    said = {row[names.index("id")]: row[names.index("error")] for row in storage.get_many(CURSORS.name, [*_NOTES])}
    return read_pending(said.get(PENDING)), read_withdrawals(said.get(FORGOTTEN_CONSENTS))


def read_withdrawals(text: Primitive) -> list[Withdrawal]:
    """Read what `withdrawal_cells` wrote into the column `error`."""
    return [Withdrawal(*one) for one in json.loads(str(text))] if text else []


def withdrawal_cells(waiting: Sequence[Withdrawal]) -> dict[str, Primitive]:
    """Return the row that says which consents are to be withdrawn again; none of them settles it."""
    return noted_cells(FORGOTTEN_CONSENTS, _HOOK, [attrs.astuple(one) for one in waiting])


def latest_of(withdrawals: Iterable[Withdrawal]) -> list[Withdrawal]:
    """Return of each contact point and purpose the latest."""
    return list({one.about: one for one in sorted(withdrawals, key=lambda one: one.at)}.values())


__all__ = [
    "CONSENTS",
    "FORGOTTEN_CONSENTS",
    "WITHDRAWN",
    "Consented",
    "Withdrawal",
    "latest_of",
    "left_by_restore",
    "pending_withdrawals",
    "read_withdrawals",
    "withdrawal_cells",
    "withdrawn_in",
]
