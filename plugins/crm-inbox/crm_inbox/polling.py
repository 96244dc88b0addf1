"""Polling: each account that can be polled is read by one worker at a time, from where the last intake ended."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING

from crm_core.errors import CrmError
from crm_core.extend import JobDone, JobRun
from crm_inbox.intake import Intake, receive, state_of

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.testing import OpenChannel


def polled_accounts(crm: CRM) -> dict[str, float]:
    """Return the accounts to be polled, with the seconds between two polls.

    One whose settings are wrong is among them, so that its error is told and no other account suffers.
    """
    return {name: account.every for name, account in crm.channels.accounts.items() if _is_polled(crm, name)}


def listening(crm: CRM, account: str) -> bool:
    """Whether an account tells by itself that something came in, so that its run may wait for it."""
    return "listen" in crm.channels.type_of(account).capabilities


def poll_account(run: JobRun) -> JobDone:
    """Read an account until there is no more, or it is time to stop; one that stays at work then listens, and so on."""
    with run.crm.channels.open(run.part) as channel:
        done = _read(run, channel)
        in_vain = 0
        while run.stays and not run.stopping():
            if in_vain > 1:  # a service that calls again and again for nothing
                _rest(min(2.0 ** min(in_vain, 6), run.pause), run.stopping)
            called = channel.listen(_cursor(run), run.pause, run.stopping)
            done = _read(run, channel)
            in_vain = in_vain + 1 if called and not done.told else 0
        return JobDone(trouble=done.trouble) if run.stays else done


def _read(run: JobRun, channel: OpenChannel) -> JobDone:
    total, more, trouble = Intake(), True, ""
    while more:
        received = channel.poll(_cursor(run))
        page = receive(run.crm, run.part, received, polled=True)
        total = total.plus(page)
        trouble = channel.redacted(received.trouble)
        run.note(JobDone(told=told_of(page), trouble=trouble))
        more = received.more
        if more and run.stopping():
            break
    return JobDone(told=told_of(total), again_in=0 if more else None, trouble=trouble)


def _cursor(run: JobRun) -> str:
    state = state_of(run.crm, run.part)
    return state.cursor if state is not None else ""


def _rest(seconds: float, stopping: Callable[[], bool]) -> None:
    ends = monotonic() + seconds
    while not stopping() and (left := ends - monotonic()) > 0:
        sleep(min(left, 0.5))


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
