"""Polling: each account that can be polled is read by one worker at a time, from where the last intake ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crm_core.errors import CrmError
from crm_core.extend import JobDone, JobRun
from crm_inbox.intake import Intake, receive, state_of

if TYPE_CHECKING:
    from crm_core import CRM


def polled_accounts(crm: CRM) -> dict[str, float]:
    """Return the accounts to be polled, with the seconds between two polls.

    One whose settings are wrong is among them, so that its error is told and no other account suffers.
    """
    return {name: account.every for name, account in crm.channels.accounts.items() if _is_polled(crm, name)}


def poll_account(run: JobRun) -> JobDone:
    """Read an account until there is no more, or it is time to stop."""
    crm, total, more = run.crm, Intake(), True
    with crm.channels.open(run.part) as channel:
        while more:
            state = state_of(crm, run.part)
            received = channel.poll(state.cursor if state is not None else "")
            total = total.plus(receive(crm, run.part, received, polled=True))
            more = received.more
            if more and run.stopping():
                break
    return JobDone(told=told_of(total), again_in=0 if more else None)


def told_of(total: Intake) -> str:
    """Say what an intake came to; empty when there was nothing new."""
    parts = [
        (total.new, "new"),
        (total.leads, "from new leads"),
        (total.held, "held"),
        (total.receipts, "receipts"),
    ]
    return ", ".join(f"{count} {word}" for count, word in parts if count)


def _is_polled(crm: CRM, name: str) -> bool:
    try:
        return "poll" in crm.channels.type_of(name).capabilities
    except CrmError:
        return True
