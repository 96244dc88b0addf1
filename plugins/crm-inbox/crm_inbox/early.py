"""Receipts that are quicker than we: what a service says of a message before it is noted what it calls it.

A receipt comes by another way than the answer to the sending, and may be there before that is committed. While a
message of the account is under way, one that means none waits in a table of its own. Whoever sends looks there after
the commit; a receipt that is committed after that look is found by a job, which comes about while any wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from crm_core.errors import ConflictError, NotFound
from crm_core.extend import JobDone, JobRun, StatusReceipt
from crm_core.query.ast import Compare
from crm_inbox.records import EarlyReceipt
from crm_inbox.status import named, noted

if TYPE_CHECKING:
    from crm_core import CRM

WAITS: Final = timedelta(hours=1)
"""How long a receipt waits for its message; one of a message that others sent by the same account never finds it."""
MOST: Final = 1_000
"""Receipts of an account that wait at most; those that come then are left out."""
_EVERY: Final = 5.0
_TURNS: Final = 3


def keep(crm: CRM, account: str, receipts: Sequence[StatusReceipt]) -> int:
    """Let receipts wait that mean no message that is known; returns how many do."""
    service = crm.records(EarlyReceipt)
    room = MOST - service.count(Compare("account", "=", account)) if receipts else 0
    now = crm.clock.now()
    return len(
        service.add_many(
            EarlyReceipt(
                account=account,
                name=each.message_id[:400],
                status=each.status,
                at=each.at,
                reason=each.reason[:1000] or None,
                unsubscribed=each.unsubscribed,
                came_at=now,
            )
            for each in receipts[: max(room, 0)]
        )
    )


def settle(crm: CRM, account: str) -> int:
    """Note the receipts that wait and whose message is known by now, and drop what waited too long.

    To be called after the commit of what was written, never inside it.

    Returns:
        How many said something new.
    """
    for _ in range(_TURNS):
        try:
            return crm.retried(lambda: _settled(crm, account))
        except (ConflictError, NotFound):  # another one is at it, or writes the message: what is left is looked at anew
            continue
    return 0


def waiting_accounts(crm: CRM) -> dict[str, float]:
    """Return the accounts for which receipts wait, with the seconds between two looks."""
    return dict.fromkeys(sorted({each.account for each in crm.records(EarlyReceipt).find(limit=MOST)}), _EVERY)


def settle_account(run: JobRun) -> JobDone:
    """Look at what waits for an account: what came after its sender had looked, and what waited too long."""
    count = settle(run.crm, run.part)
    return JobDone(told=f"{count} receipts noted" if count else "")


def _settled(crm: CRM, account: str) -> int:
    service = crm.records(EarlyReceipt)
    waiting = list(service.find(Compare("account", "=", account), limit=MOST))
    if not waiting:
        return 0
    count, oldest = 0, crm.clock.now() - WAITS
    with crm.transaction():
        known = named(crm, account, [each.name for each in waiting])
        for each in waiting:
            message = known.get(each.name)
            if message is not None:
                changed = noted(crm, message, _receipt(each))
                known[each.name] = changed or message
                count += changed is not None
            if message is not None or (isinstance(each.came_at, datetime) and each.came_at < oldest):
                service.delete(each)
    return count


def _receipt(early: EarlyReceipt) -> StatusReceipt:
    return StatusReceipt(
        message_id=early.name,
        status=cast(Any, early.status),
        at=early.at if isinstance(early.at, datetime) else None,
        reason=early.reason or "",
        unsubscribed=early.unsubscribed,
    )
