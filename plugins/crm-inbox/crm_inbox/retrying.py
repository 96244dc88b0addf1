"""Messages that were given up, put into the outbox again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from crm_core.errors import UsageError
from crm_inbox.records import OutboxMessage

if TYPE_CHECKING:
    from crm_core import CRM

CANCELLED: Final = "cancelled"
"""The reason of a message that somebody kept from leaving."""


def try_again(crm: CRM, message: OutboxMessage) -> OutboxMessage:
    """Put a message that was given up into the outbox again, under the message id that it had.

    Raises:
        UsageError: it was not given up.
    """
    if message.status != "failed":
        raise UsageError(f"the message is {message.status}, not failed", hint="crm outbox list shows what is")
    again = message.evolve(status="queued", attempts=0, reason=None, next_at=crm.clock.now())
    return crm.records(OutboxMessage).edit(again)


def parked(crm: CRM, where: str | None = None) -> list[OutboxMessage]:
    """Return the messages that were given up before they left, of those that match; not what somebody cancelled."""
    found = crm.records(OutboxMessage).iterate(where)
    return [each for each in found if each.status == "failed" and not each.sent_at and each.reason != CANCELLED]


def try_all_again(crm: CRM, messages: Sequence[OutboxMessage]) -> int:
    """Put messages that were given up into the outbox again, as one operation; returns how many."""
    now = crm.clock.now()
    again = (each.evolve(status="queued", attempts=0, reason=None, next_at=now) for each in messages)
    return len(crm.records(OutboxMessage).edit_many(again))
