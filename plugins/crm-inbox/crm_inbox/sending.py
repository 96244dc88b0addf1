"""Sending: what is due leaves by its account, one worker at a time an account, each message under one id for good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from crm_core.errors import (
    ChannelError,
    ConflictError,
    CredentialsWrong,
    InvalidValue,
    MessageRejected,
    NotFound,
    SettingsError,
    TryLater,
)
from crm_core.extend import Address, Attachment, JobDone, JobRun, OutgoingMessage, Receipt
from crm_core.query.ast import And, Compare, In, IsNull, Or
from crm_core.values import to_micros
from crm_inbox.attachments import place_of
from crm_inbox.consent import SERVICE, quiet_until, refusal, zone_of
from crm_inbox.intake import thread_key
from crm_inbox.records import InboxAttachment, OutboxMessage
from crm_inbox.status import fail
from crm_inbox.unsubscribing import list_headers

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.query.ast import Expression

PAUSES: Final = (60, 300, 900, 3_600, 10_800, 21_600, 43_200)
"""Seconds before each further attempt; after the last one the message is given up."""
_PAGE: Final = 50
_MINUTE: Final = timedelta(seconds=60)


def sending_accounts(crm: CRM) -> dict[str, float]:
    """Return the accounts that can send; one with wrong settings is found out when something is to leave by it."""
    return dict.fromkeys(crm.channels.accounts, 0.0)


def something_waits(crm: CRM, account: str) -> bool:
    """Whether a message is due."""
    return bool(crm.records(OutboxMessage).find(_due(crm, account), limit=1))


def send_account(run: JobRun) -> JobDone:
    """Send what is due by an account, until there is no more, it is time to stop, or the account's pace is reached."""
    crm, sent, failed = run.crm, 0, 0
    with crm.channels.open(run.part) as channel:
        for message in _waiting(crm, run.part):
            if run.stopping():
                return JobDone(told=_told(sent, failed), again_in=0)
            if (pause := _pause(crm, run.part)) > 0:
                return JobDone(told=_told(sent, failed), again_in=pause)
            claimed = _claimed(crm, message)
            if claimed is None:
                continue
            if claimed.status == "failed":
                failed += 1
                continue
            try:
                receipt = channel.send(outgoing(crm, claimed))
            except (MessageRejected, InvalidValue, NotFound) as error:
                fail(crm, claimed, channel.redacted(str(error)))
                failed += 1
            except (CredentialsWrong, SettingsError) as error:
                # The account is at fault, not the message, which loses no attempt by it.
                _put_back(crm, claimed.evolve(attempts=claimed.attempts - 1), crm.clock.now(), str(error))
                raise
            except ChannelError as error:
                delay = error.delay if isinstance(error, TryLater) else None
                failed += _later(crm, claimed, str(error), delay)
            else:
                with suppress(ConflictError):  # a receipt was quicker, or another worker took this one for gone
                    _note_sent(crm, claimed, receipt)
                sent += 1
    return JobDone(told=_told(sent, failed))


def outgoing(crm: CRM, message: OutboxMessage) -> OutgoingMessage:
    """Return a message as a channel takes it.

    Raises:
        NotFound: its interaction is gone.
        InvalidValue: something in it would begin a header of its own.
    """
    if message.interaction_id is None:
        raise NotFound("what it says is gone")
    said = crm.interactions.get(message.interaction_id)
    if not (said.body or "").strip():  # as of a person who was erased
        raise NotFound("what it says is gone")
    return OutgoingMessage(
        message_id=message.message_id,
        recipient=Address(kind=message.address_kind, value=message.address, name=message.name or ""),
        subject=said.subject or "",
        text=said.body or "",
        html=message.html or "",
        thread=message.thread or "",
        replies_to=tuple((message.replies_to or "").split("\n")) if message.replies_to else (),
        attachments=_attachments(crm, message.interaction_id),
        headers=_headers(crm, message),
        automatic=message.automatic,
    )


def _headers(crm: CRM, message: OutboxMessage) -> dict[str, str]:
    """Return the headers that a message was given, and those of unsubscribing in place of any of theirs."""
    ours = list_headers(crm, message)
    known = {name.casefold() for name in ours}
    given: dict[str, str] = json.loads(message.headers or "{}")
    return {**{name: value for name, value in given.items() if name.casefold() not in known}, **ours}


def _attachments(crm: CRM, interaction_id: int) -> tuple[Attachment, ...]:
    """Return the files of a message, each as it was kept.

    Raises:
        NotFound: one of them is gone.
    """
    directory = crm.settings.directory
    files = crm.records(InboxAttachment).find(Compare("interaction_id", "=", interaction_id), sort="id", limit=None)
    found = []
    for each in files:
        try:
            content = place_of(directory, each.digest).read_bytes() if directory and each.digest else None
        except OSError:
            content = None
        if content is None:
            raise NotFound(f"its file {each.name or each.digest!r} is gone from the workspace")
        found.append(Attachment(name=each.name or "", type=each.type, content=content))
    return tuple(found)


def _due(crm: CRM, account: str) -> Expression:
    """Select what is due; what is `sending` was left by a worker that is gone, for an account has one at a time."""
    return And(
        (
            Compare("account", "=", account),
            In("status", ("queued", "sending")),
            Or((IsNull("next_at"), Compare("next_at", "<=", to_micros(crm.clock.now())))),
        )
    )


def _waiting(crm: CRM, account: str) -> Iterator[OutboxMessage]:
    """Yield what is due, the oldest first, each once in a run."""
    seen: set[int] = set()
    while True:
        page = crm.records(OutboxMessage).find(_due(crm, account), sort="next_at,id", limit=_PAGE)
        fresh = [each for each in page if each.id not in seen]
        if not fresh:
            return
        for each in fresh:
            seen.add(each.id)
            yield each


def _claimed(crm: CRM, message: OutboxMessage) -> OutboxMessage | None:
    """Take a message, by a write that only one worker can make; None if it may not leave now, or another has it."""
    service, now = crm.records(OutboxMessage), crm.clock.now()
    try:
        told = refusal(crm, message)
        if told:
            return fail(crm, message, told)
        if message.attempts > len(PAUSES):
            return fail(crm, message, message.reason or f"given up after {message.attempts} attempts")
        if (until := _quiet(crm, message, now)) is not None:
            service.edit(message.evolve(status="queued", next_at=until, reason="quiet hours"))
            return None
        return service.edit(message.evolve(status="sending", attempts=message.attempts + 1))
    except (ConflictError, NotFound):  # somebody wrote it, or deleted it, meanwhile
        return None


def _quiet(crm: CRM, message: OutboxMessage, now: datetime) -> datetime | None:
    """Return until when a message has to wait; what a person answers leaves at once."""
    if message.purpose == SERVICE and not message.automatic:
        return None
    person = crm.customers.get(message.customer_id) if message.customer_id is not None else None
    zone = zone_of(person.time_zone if person is not None else None, crm.zone)
    return quiet_until(crm.channels.account(message.account).quiet_hours, now, zone)


def _pause(crm: CRM, account: str) -> float:
    """Return the seconds until the account may send again, by the messages that left within the last minute."""
    most = crm.channels.account(account).per_minute
    if not most:
        return 0.0
    now = crm.clock.now()
    where = And((Compare("account", "=", account), Compare("sent_at", ">", to_micros(now - _MINUTE))))
    left = crm.records(OutboxMessage).find(where, sort="-sent_at", limit=most)
    if len(left) < most:
        return 0.0
    oldest = left[-1].sent_at
    assert isinstance(oldest, datetime), "what left has a time"
    return max((oldest + _MINUTE - now).total_seconds(), 0.01)


def _note_sent(crm: CRM, message: OutboxMessage, receipt: Receipt) -> None:
    now = crm.clock.now()
    with crm.transaction():
        noted = crm.records(OutboxMessage).edit(
            message.evolve(status="sent", reason=None, provider_id=receipt.provider_id[:400] or None)
        )
        # Apart, for a change of derived fields alone is the one that no undo takes back.
        crm.records(OutboxMessage).edit(noted.evolve(sent_at=now))
        if receipt.thread and not message.thread and message.interaction_id is not None:
            said = crm.interactions.get(message.interaction_id)
            crm.interactions.edit(said.evolve(thread=thread_key(message.account, receipt.thread)))


def _later(crm: CRM, message: OutboxMessage, reason: str, delay: float | None) -> int:
    """Put a message back for a later attempt, or give it up after the last one; returns 1 if it was given up."""
    if message.attempts > len(PAUSES):
        fail(crm, message, f"given up after {message.attempts} attempts: {reason}")
        return 1
    pause = max(float(PAUSES[message.attempts - 1]), min(delay or 0.0, 86_400.0))
    _put_back(crm, message, crm.clock.now() + timedelta(seconds=pause), reason)
    return 0


def _put_back(crm: CRM, message: OutboxMessage, at: datetime, reason: str) -> None:
    crm.records(OutboxMessage).edit(message.evolve(status="queued", next_at=at, reason=reason[:1000]))


def _told(sent: int, failed: int) -> str:
    return ", ".join(f"{count} {word}" for count, word in ((sent, "sent"), (failed, "given up")) if count)
