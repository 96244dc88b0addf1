"""Sending: what is due leaves by its account, one worker at a time an account, each message under one id for good."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import attrs

from crm_core import Customer, Interaction, Write
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
from crm_inbox.early import settle
from crm_inbox.intake import thread_key
from crm_inbox.records import InboxAttachment, OutboxMessage
from crm_inbox.status import fail, stop_for
from crm_inbox.unsubscribing import is_bulk, list_headers, settings_of

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_core.query.ast import Expression
    from crm_core.testing import OpenChannel
    from crm_inbox.unsubscribing import UnsubscribeSettings

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
    crm = run.crm
    with crm.channels.open(run.part) as channel, closing(_Sender(crm, run.part, channel)) as sender:
        again_in = _send_due(run, sender)
    settle(crm, run.part)
    return JobDone(told=sender.told(), again_in=again_in)


def _send_due(run: JobRun, sender: _Sender) -> float | None:
    """Send what is due; returns the seconds until the account is to be looked at again where not all left."""
    for message, around in _waiting(run.crm, run.part):
        if run.stopping():
            return 0.0
        if (pause := sender.pause()) > 0:
            return pause
        sender.send(message, around)
    return None


@attrs.frozen
class Around:
    """What sending some messages needs beside them, looked up for all at once.

    Consent is not among it: that is looked up for each message when it is about to leave.
    """

    people: Mapping[int, Customer]
    said: Mapping[int, Interaction]
    files: Mapping[int, Sequence[InboxAttachment]]
    leaving: Callable[[], UnsubscribeSettings | None]
    """Looks up, when bulk mail first asks, what people unsubscribe by: what is wrong there stops no other message."""

    @classmethod
    def of(cls, crm: CRM, messages: Sequence[OutboxMessage]) -> Around:
        """Look it up."""
        people = crm.customers.get_many([one.customer_id for one in messages if one.customer_id is not None])
        talks = [one.interaction_id for one in messages if one.interaction_id is not None]
        files = defaultdict[int, list[InboxAttachment]](list)
        for file in crm.records(InboxAttachment).find(In("interaction_id", tuple(talks)), sort="id", limit=None):
            files[file.interaction_id].append(file)
        said = crm.interactions.get_many(talks)
        leaving = cache(partial(settings_of, crm))
        return cls({each.id: each for each in people}, {each.id: each for each in said}, files, leaving)


@attrs.frozen
class _Left:
    """A message that left, with what its service says of it, and when."""

    message: OutboxMessage
    receipt: Receipt
    at: datetime


class _Sender:
    """Sends messages one after the other; that one left is noted in the transaction that takes the next one.

    So a message costs one commit. Whoever is killed between the two sends at most that one again, under its id. What
    a service tells of a message before that is noted waits for it (`crm_inbox.early`).
    """

    def __init__(self, crm: CRM, account: str, channel: OpenChannel) -> None:
        self._crm = crm
        self._account = account
        self._channel = channel
        self._unnoted: _Left | None = None
        self._sent = 0
        self._failed = 0

    def told(self) -> str:
        """Say what was done."""
        counts = ((self._sent, "sent"), (self._failed, "given up"))
        return ", ".join(f"{count} {word}" for count, word in counts if count)

    def close(self) -> None:
        """Note the last one that left."""
        if self._unnoted is not None:
            left, self._unnoted = self._unnoted, None
            with suppress(ConflictError, NotFound):  # it was deleted meanwhile, or is being written again and again
                self._crm.retried(lambda: _note_sent(self._crm, left))

    def pause(self) -> float:
        """Return the seconds until the account may send again, by the messages that left within the last minute."""
        most = self._crm.channels.account(self._account).per_minute
        if not most or _left_within_a_minute(self._crm, self._account) + (self._unnoted is not None) < most:
            return 0.0
        self.close()
        return _pause(self._crm, self._account, most)

    def send(self, message: OutboxMessage, around: Around) -> None:
        """Send a message, if it may leave now and nobody else has it."""
        crm, channel = self._crm, self._channel
        claimed = self._claimed(message, around)
        if claimed is None:
            return
        if claimed.status == "failed":
            self._failed += 1
            return
        try:
            receipt = channel.send(outgoing(crm, claimed, around))
        except (MessageRejected, InvalidValue, NotFound) as error:
            with crm.transaction():
                fail(crm, claimed, channel.redacted(str(error)))
                if isinstance(error, MessageRejected) and error.unsubscribed:
                    stop_for(crm, claimed)
            self._failed += 1
        except (CredentialsWrong, SettingsError) as error:
            # The account is at fault, not the message, which loses no attempt by it.
            _put_back(crm, claimed.evolve(attempts=claimed.attempts - 1), crm.clock.now(), str(error))
            raise
        except ChannelError as error:
            delay = error.delay if isinstance(error, TryLater) else None
            self._failed += _later(crm, claimed, str(error), delay)
        else:
            self._sent += 1
            self._unnoted = _Left(claimed, receipt, crm.clock.now())

    def _claimed(self, message: OutboxMessage, around: Around) -> OutboxMessage | None:
        """Take a message, and note with it the one that left before."""
        left = self._unnoted
        if left is None:
            return self._claimed_alone(message, around)
        try:
            claimed = self._crm.retried(lambda: _claimed(self._crm, message, around, left))
        except (ConflictError, NotFound):  # one of the two was written by somebody else meanwhile
            self.close()
            return self._claimed_alone(message, around)
        self._unnoted = None
        return claimed

    def _claimed_alone(self, message: OutboxMessage, around: Around) -> OutboxMessage | None:
        try:
            return self._crm.retried(lambda: _claimed(self._crm, message, around))
        except (ConflictError, NotFound):  # somebody wrote it, or deleted it, meanwhile
            return None


def outgoing(crm: CRM, message: OutboxMessage, around: Around | None = None) -> OutgoingMessage:
    """Return a message as a channel takes it; `around` is looked up where nobody did before.

    Raises:
        NotFound: its interaction is gone.
        InvalidValue: something in it would begin a header of its own.
    """
    around = around or Around.of(crm, [message])
    said = around.said.get(message.interaction_id or 0)
    if said is None or not (said.body or "").strip():  # as of a person who was erased
        raise NotFound("what it says is gone")
    return OutgoingMessage(
        message_id=message.message_id,
        recipient=Address(kind=message.address_kind, value=message.address, name=message.name or ""),
        subject=said.subject or "",
        text=said.body or "",
        html=message.html or "",
        thread=message.thread or "",
        replies_to=tuple((message.replies_to or "").split("\n")) if message.replies_to else (),
        attachments=_attachments(crm, around.files.get(said.id, ())),
        headers=_headers(message, around),
        automatic=message.automatic,
    )


def _headers(message: OutboxMessage, around: Around) -> dict[str, str]:
    """Return the headers that a message was given, and those of unsubscribing in place of any of theirs."""
    ours = list_headers(around.leaving(), message) if is_bulk(message) else {}
    known = {name.casefold() for name in ours}
    given: dict[str, str] = json.loads(message.headers or "{}")
    return {**{name: value for name, value in given.items() if name.casefold() not in known}, **ours}


def _attachments(crm: CRM, files: Sequence[InboxAttachment]) -> tuple[Attachment, ...]:
    """Return the files of a message, each as it was kept.

    Raises:
        NotFound: one of them is gone.
    """
    directory = crm.settings.directory
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


def _waiting(crm: CRM, account: str) -> Iterator[tuple[OutboxMessage, Around]]:
    """Yield what is due, the oldest first, each once in a run, with what is around it."""
    seen: set[int] = set()
    while True:
        page = crm.records(OutboxMessage).find(_due(crm, account), sort="next_at,id", limit=_PAGE)
        fresh = [each for each in page if each.id not in seen]
        if not fresh:
            return
        around = Around.of(crm, fresh)
        for each in fresh:
            seen.add(each.id)
            yield each, around
        settle(crm, account)


def _claimed(crm: CRM, message: OutboxMessage, around: Around, left: _Left | None = None) -> OutboxMessage | None:
    """Take a message, by a write that only one worker can make, and note the one that left before; None: not now.

    Raises:
        ConflictError: somebody wrote one of them meanwhile, or deleted it.
    """
    now = crm.clock.now()
    with crm.transaction():
        noted = [] if left is None else [_noted(crm, left)]
        person = around.people.get(message.customer_id or 0)
        if told := refusal(crm, message, person):
            _stored(crm, *noted)
            return fail(crm, message, told)
        if message.attempts > len(PAUSES):
            _stored(crm, *noted)
            return fail(crm, message, message.reason or f"given up after {message.attempts} attempts")
        if (until := _quiet(crm, message, person, now)) is not None:
            _stored(crm, *noted, (message, message.evolve(status="queued", next_at=until, reason="quiet hours")))
            return None
        return _stored(crm, *noted, (message, message.evolve(status="sending", attempts=message.attempts + 1)))[-1]


def _stored(crm: CRM, *changes: tuple[OutboxMessage, OutboxMessage]) -> list[OutboxMessage]:
    """Write messages, each as (it was read, it becomes), in one go and without reading them again.

    Raises:
        ConflictError: somebody wrote or deleted one of them since it was read.
    """
    if not changes:
        return []
    outcome = crm.records(OutboxMessage).write_many([Write(record=now, before=before) for before, now in changes])
    for refused in outcome.refused:
        raise refused.error
    return [each for each in outcome.records if each is not None]


def _quiet(crm: CRM, message: OutboxMessage, person: Customer | None, now: datetime) -> datetime | None:
    """Return until when a message has to wait; what a person answers leaves at once."""
    if message.purpose == SERVICE and not message.automatic:
        return None
    zone = zone_of(person.time_zone if person is not None else None, crm.zone)
    return quiet_until(crm.channels.account(message.account).quiet_hours, now, zone)


def _within_a_minute(crm: CRM, account: str) -> Expression:
    return And((Compare("account", "=", account), Compare("sent_at", ">", to_micros(crm.clock.now() - _MINUTE))))


def _left_within_a_minute(crm: CRM, account: str) -> int:
    return crm.records(OutboxMessage).count(_within_a_minute(crm, account))


def _pause(crm: CRM, account: str, most: int) -> float:
    """Return the seconds until fewer than so many left within a minute."""
    where = _within_a_minute(crm, account)
    if crm.records(OutboxMessage).count(where) < most:
        return 0.0
    oldest = crm.records(OutboxMessage).find(where, sort="sent_at", limit=1)[0].sent_at
    assert isinstance(oldest, datetime), "what left has a time"
    return max((oldest + _MINUTE - crm.clock.now()).total_seconds(), 0.01)


def _note_sent(crm: CRM, left: _Left) -> None:
    """Note that a message left, whatever was written of it meanwhile: a receipt may have been quicker.

    Raises:
        NotFound: it was deleted.
        ConflictError: it is written at this very moment.
    """
    with crm.transaction():
        message = crm.records(OutboxMessage).get(left.message.id)
        _stored(crm, _noted(crm, attrs.evolve(left, message=message)))


def _noted(crm: CRM, left: _Left) -> tuple[OutboxMessage, OutboxMessage]:
    """Note what follows from a message's leaving; returns it as it is then, and with when it left, still to be written.

    That comes apart, for a change of derived fields alone is the one that no undo takes back.
    """
    before, receipt = left.message, left.receipt
    is_new = before.status in ("queued", "sending")
    after = before.evolve(
        status="sent" if is_new else before.status,
        reason=None if is_new else before.reason,
        provider_id=receipt.provider_id[:400] or before.provider_id,
    )
    (noted,) = _stored(crm, (before, after))
    if receipt.thread and not before.thread and before.interaction_id is not None:
        said = crm.interactions.get(before.interaction_id)
        crm.interactions.edit(said.evolve(thread=thread_key(before.account, receipt.thread)))
    return noted, noted.evolve(sent_at=left.at)


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
