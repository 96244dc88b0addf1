"""Withdrawing consents again that the backup a database comes from does not know to be withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, cast

from crm_core.extend import Storage
from crm_core.ledger.tables import CURSORS
from crm_core.ledger.withdrawals import (
    CONSENTS,
    FORGOTTEN_CONSENTS,
    WITHDRAWN,
    Consented,
    Withdrawal,
    pending_withdrawals,
    withdrawal_cells,
)
from crm_core.ledger.work import UnitOfWork
from crm_core.query.ast import In
from crm_core.records import Consent
from crm_core.services.records import RecordService

_LABEL: Final = "withdraw consents again"
_FINAL: Final = "who said no is not asked again"
_CHUNK: Final = 500
_ENTRY: Final = ("contact_point_id", "purpose", "at", "id", "status")


def withdraw_again(storage: Storage, work: UnitOfWork, consents: RecordService[Consent]) -> int:
    """Write what `pending_withdrawals` says, with the time and source of each; returns how many were lacking.

    What a database knows by now is not written twice: killed anywhere, and beside others, the next run goes on.
    """
    waiting, written = pending_withdrawals(storage), 0
    with work.operation(_LABEL, detail={"final": _FINAL}):
        for at in range(0, len(waiting), _CHUNK):
            written += work.retried(partial(_write, storage, work, consents, waiting[at : at + _CHUNK]))
    storage.begin(write=True)
    try:
        cells = withdrawal_cells([])
        storage.put_many(CURSORS.name, tuple(cells), [tuple(cells.values())])
        storage.commit()
    except BaseException:
        storage.rollback()
        raise
    return written


def _write(storage: Storage, work: UnitOfWork, consents: RecordService[Consent], waiting: Sequence[Withdrawal]) -> int:
    points = sorted({one.contact_point_id for one in waiting})
    with work.transaction():
        storage.lock(CURSORS.name, [FORGOTTEN_CONSENTS])  # somebody else may be at it
        there = {row[0] for row in storage.get_many("contact_points", points)}
        entries = storage.find(CONSENTS, In("contact_point_id", tuple(points)), columns=list(_ENTRY))
        latest: dict[Consented, tuple[int, int, str]] = {}
        for point, purpose, *entry in cast(Any, entries):
            latest[point, purpose] = max(latest.get((point, purpose), tuple(entry)), tuple(entry))
        lacking = [
            one for one in waiting if one.contact_point_id in there and not _is_known(one, latest.get(one.about))
        ]
        at = consents.kind.fields["at"].codec
        consents.add_many(
            Consent(
                contact_point_id=one.contact_point_id,
                purpose=one.purpose,
                status=WITHDRAWN,
                at=at.decode((one.at, one.at_is_date)),
                source=one.source,
                text_version=one.text_version,
            )
            for one in lacking
        )
    return len(lacking)


def _is_known(one: Withdrawal, latest: tuple[int, int, str] | None) -> bool:
    """Whether the latest entry is a withdrawal too, or was made after it."""
    return latest is not None and (latest[2] == WITHDRAWN or latest[0] > one.at)


__all__ = ["withdraw_again"]
