"""Intake: what a channel brings becomes interactions, each once, together with the cursor in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from crm_core import Interaction, Write
from crm_core.errors import ConflictError, DuplicateKey, StorageConflict
from crm_core.extend import Address, Attachment, IncomingMessage, Received, StatusReceipt
from crm_core.query.ast import And, Compare, In
from crm_core.values import to_micros
from crm_inbox import attachments
from crm_inbox.automatic import wants_no_machine, writer_of
from crm_inbox.early import keep
from crm_inbox.held import held_key, held_message, message_of
from crm_inbox.records import HeldMessage, InboxAttachment, InboxMessage, InboxState, OutboxMessage
from crm_inbox.senders import LeadOf, Sender, candidates, reached, sender_of
from crm_inbox.status import note_bounce, note_receipts
from crm_inbox.wishes import heed

if TYPE_CHECKING:
    from crm_core import CRM

T = TypeVar("T")
_CHUNK: Final = 50
"""Messages of one transaction: about as long as a database may be locked for."""
_LOOP: Final = 20
"""Messages that a thread may get in an hour before those that follow count as a loop."""
_AHEAD: Final = timedelta(days=1)
"""How far a sender's clock may be ahead before ours is taken."""
_KEY: Final = 200


@attrs.frozen(kw_only=True)
class Intake:
    """What came of one batch: new messages, those known before, leads made, messages held, receipts that meant one."""

    new: int = 0
    known: int = 0
    leads: int = 0
    held: int = 0
    receipts: int = 0

    def plus(self, other: Intake) -> Intake:
        """Return the sum of two."""
        return Intake(**{name: value + getattr(other, name) for name, value in attrs.asdict(self).items()})


def receive(crm: CRM, account: str, received: Received, *, polled: bool = False) -> Intake:
    """Take in what an account brought: by a webhook, or (`polled`) by a poll, whose cursor is then kept as well.

    However often a message comes, it is stored once: its id at the channel is an external id of the interaction. One
    that a rule of the workspace refuses is held, whole and with the reason.

    Raises:
        NotFound: no such account is declared.
    """
    kind = crm.channels.type_of(account)
    messages = list({short(each.external_id): each for each in received.messages}.items())
    chunks = [messages[at : at + _CHUNK] for at in range(0, len(messages), _CHUNK)] or [[]]
    total = Intake()
    with crm.operation(f"intake {account}", kind="channel"):
        for number, chunk in enumerate(chunks, 1):
            files = {key: kept_files(crm, message.attachments) for key, message in chunk}
            last = number == len(chunks)
            batch = _Batch(crm, account, kind.name, chunk, files, received if last else None, polled=polled)
            total = total.plus(_stored(crm, batch))
    return total


def retake(crm: CRM, held: HeldMessage) -> bool:
    """Take in a message again that was held; returns whether it was stored now. If not, it stays, with the new reason.

    Raises:
        NotFound: its account is not declared any more, or its sender was erased.
    """
    message, files = message_of(held)
    kind = crm.channels.type_of(held.account)
    key = short(message.external_id)
    batch = _Batch(crm, held.account, kind.name, [(key, message)], {key: files}, None, polled=False)

    def again() -> bool:
        with crm.transaction():
            crm.records(HeldMessage).delete(held)
            return batch.store().new == 1

    with crm.operation(f"intake {held.account}", kind="channel"):
        return crm.retried(again)


def short(text: str) -> str:
    """Return an id as it is stored: a digest stands for a long one, and what no storage takes is taken out."""
    clean = cleaned(text)
    return clean if len(clean) <= _KEY else f"sha256:{hashlib.sha256(clean.encode()).hexdigest()}"


def cleaned(text: str, longest: int = 0) -> str:
    """Return a text that every storage takes: no NUL, no half characters, and no longer than its field."""
    clean = text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return clean[:longest] if longest else clean


def thread_key(account: str, name: str) -> str:
    """Return what the interactions of one conversation have in common."""
    return f"{account}:{short(name)}"


def state_of(crm: CRM, account: str) -> InboxState | None:
    """Return how far an account was read; None before its first poll."""
    found = crm.records(InboxState).find(Compare("account", "=", account), limit=1)
    return found[0] if found else None


def _stored(crm: CRM, batch: _Batch) -> Intake:
    try:
        return crm.retried(batch.store)
    except DuplicateKey:  # the same message came by another way meanwhile, and is found now
        return crm.retried(batch.store)


def kept_files(crm: CRM, files: Sequence[Attachment]) -> list[InboxAttachment]:
    """Write the files of a message to the store, before any record names them."""
    return [_attachment(crm, each, number) for number, each in enumerate(files, 1)]


def _attachment(crm: CRM, attachment: Attachment, number: int) -> InboxAttachment:
    directory = crm.settings.directory
    refused = attachments.refusal(attachment, number) or ("" if directory else "the CRM has no directory")
    digest = attachments.keep(directory, attachment.content) if directory and not refused else None
    return InboxAttachment(
        interaction_id=0,
        name=attachments.safe_name(cleaned(attachment.name)),
        type=cleaned(attachment.type, 200) or "application/octet-stream",
        size=len(attachment.content),
        digest=digest,
        refused=refused or None,
    )


@attrs.frozen
class _Ready:
    """A message that is about to be written; `first` is its key, or that of the first of those it was parted into."""

    first: str
    key: str
    message: IncomingMessage
    files: Sequence[InboxAttachment]
    sender: Sender
    writer: str
    interaction: Interaction
    at: datetime
    settled: Sequence[Interaction]


class _Batch:
    """Messages that are stored in one transaction, which may have to be repeated."""

    def __init__(
        self,
        crm: CRM,
        account: str,
        channel: str,
        messages: Sequence[tuple[str, IncomingMessage]],
        files: Mapping[str, Sequence[InboxAttachment]],
        end: Received | None,
        *,
        polled: bool,
    ) -> None:
        self._crm = crm
        self._account = account
        self._channel = channel
        self._messages = messages
        self._files = files
        self._end = end
        self._polled = polled
        self._system = f"channel:{account}"
        self._ready: list[_Ready] = []

    def store(self) -> Intake:
        """Store what is new, and at the end of a poll the cursor."""
        with self._crm.transaction():
            self._ready = []
            known = self._known()
            new = [(key, message) for key, message in self._messages if key not in known]
            found = reached(self._crm, [message.sender for _, message in new])
            done = Intake(known=len(self._messages) - len(new))
            for (key, message), who in zip(new, found, strict=True):
                done = done.plus(self._take(key, message, who))
            done = done.plus(self._write())
            if self._end is not None:
                done = done.plus(Intake(receipts=self._note_receipts(self._end.receipts)))
                self._keep_place(done)
            return done

    def _note_receipts(self, receipts: Sequence[StatusReceipt]) -> int:
        count, early = self._written(partial(note_receipts, self._crm, self._account, receipts))
        keep(self._crm, self._account, early)
        return count

    def _written(self, write: Callable[[], T]) -> T:
        try:
            return write()
        except ConflictError as error:
            # Its sender writes a message at the same moment: all is done again, by who can do all of it again.
            raise StorageConflict(f"{error.message}, by somebody else", hint="do the whole of it again") from error

    def _known(self) -> set[str]:
        """Return the keys of the messages that were stored, or held, before."""
        if not self._messages:
            return set()
        digests = {held_key(self._account, message.external_id): key for key, message in self._messages}
        held = self._crm.records(HeldMessage).find(In("key", tuple(digests)), limit=None)
        keys = [key for key, _ in self._messages]
        stored = self._crm.external_ids.find_many("interaction", self._system, keys)
        return {*stored, *(digests[each.key] for each in held)}

    def _take(self, key: str, message: IncomingMessage, found: Sequence[int]) -> Intake:
        """Make out what a message is; it is written with those before it, at the latest when one looks for it."""
        if message.direction == "out" and self._left_by_us(message):
            return Intake(known=1)
        done = self._write() if self._is_looked_for(message) else Intake()
        if message.direction == "in":
            return done.plus(self._make_ready(key, key, message, found))
        for number, each in enumerate(self._for_each(message)):
            done = done.plus(self._make_ready(key, short(each.external_id), each, (), settles=not number))
        return done

    def _for_each(self, message: IncomingMessage) -> list[IncomingMessage]:
        """Return a message that we sent as it is with each whom it went to: who is known, or may be one of several.

        The first of them has its id; nobody known: it is with the first recipient.
        """
        addresses = [message.recipient or message.sender, *message.others]
        reached = [(address, candidates(self._crm, address)) for address in addresses]
        known = dict[int, Address]()
        for address, customers in reached:
            if len(customers) == 1:
                known.setdefault(customers[0], address)
        # An address that several share stands for nobody else if one of them has the message already.
        shared = [each for each, customers in reached if len(customers) > 1 and not known.keys() & set(customers)]
        found = [*known.values(), *shared]
        reference = message.reference or message.external_id
        told = attrs.evolve(message, reference=reference, others=())
        ids = [message.external_id, *(f"{message.external_id} {each.kind}:{each.value}" for each in found[1:])]
        return [
            attrs.evolve(told, external_id=name, sender=address, recipient=address)
            for name, address in zip(ids, found or addresses[:1], strict=True)
        ]

    def _make_ready(
        self, first: str, key: str, message: IncomingMessage, found: Sequence[int], *, settles: bool = True
    ) -> Intake:
        now = self._crm.clock.now()
        at = message.at if message.at is not None and message.at <= now + _AHEAD else now
        came = message.direction == "in"
        writer: str = writer_of(message) if came else "person"
        before = self._answered(message)
        thread = self._thread(message, before)
        talked = message.kind == "call" and message.duration is not None
        lead_of = LeadOf(self._channel, at) if came and writer == "person" else None
        sender = sender_of(self._crm, message, thread, found, lead_of)
        if came and writer == "person" and self._is_loop(thread, now):
            writer = "loop"
        settled = self._settled(message, thread, at) if settles else []
        interaction = Interaction(
            customer_id=sender.customer_id,
            channel=self._channel,
            direction=message.direction,
            kind=message.kind,
            occurred_at=at,
            subject=cleaned(message.subject, 1000).strip() or None,
            body=cleaned(message.text) or None,
            thread=thread,
            in_reply_to_id=before if before is not None or not settled else settled[-1].id,
            needs_answer=came and writer == "person" and not talked,
            duration=message.duration,
        )
        files = self._files.get(first, ())
        self._ready.append(_Ready(first, key, message, files, sender, writer, interaction, at, settled))
        return Intake(leads=sender.made)

    def _is_looked_for(self, message: IncomingMessage) -> bool:
        """Whether what is said of a message depends on one that is not written yet: of the same thread, or answered."""
        if any(each.strip() for each in message.replies_to):
            return bool(self._ready)
        thread = self._thread(message, None)
        return any(each.interaction.thread == thread for each in self._ready)

    def _write(self) -> Intake:
        """Write what is ready."""
        crm, (ready, self._ready) = self._crm, (self._ready, [])
        if not ready:
            return Intake()
        ready = [self._heeded(each) for each in ready]
        outcome = crm.interactions.write_many(
            [Write(record=each.interaction, external=(self._system, each.key)) for each in ready]
        )
        for refused in outcome.refused:
            if isinstance(refused.error, DuplicateKey):
                raise refused.error  # it came by another way since we looked, and is found by another look
            each = ready[refused.index]
            self._hold(each.files, each.message, str(refused.error), each.sender.customer_id)
        stored = [(made.id, each) for made, each in zip(outcome.records, ready, strict=True) if made is not None]
        crm.records(InboxMessage).add_many(self._note(made, each) for made, each in stored)
        crm.records(InboxAttachment).add_many(
            file.evolve(interaction_id=made) for made, each in stored for file in each.files
        )
        for _, each in stored:
            if each.writer == "bounce":
                note_bounce(crm, each.message)
            for one in each.settled:
                crm.interactions.edit(one.evolve(needs_answer=False, answered_at=each.interaction.occurred_at))
        return Intake(new=len({each.first for _, each in stored}), held=len(outcome.refused))

    def _heeded(self, ready: _Ready) -> _Ready:
        """Do what a message wishes, also if it is held afterwards; one that says nothing else needs no answer."""
        if not heed(self._crm, self._account, ready.message, ready.at):
            return ready
        return attrs.evolve(ready, interaction=ready.interaction.evolve(needs_answer=False))

    def _note(self, interaction_id: int, ready: _Ready) -> InboxMessage:
        message = ready.message
        return InboxMessage(
            interaction_id=interaction_id,
            account=self._account,
            reference=short(message.reference or message.external_id),
            thread=cleaned(message.thread, 1000).strip() or None,
            sender_kind=message.sender.kind,
            sender_value=cleaned(message.sender.value, 1000),
            sender_name=cleaned(message.sender.name, 400).strip() or None,
            sender=ready.sender.state,
            automatic=ready.writer,
            no_machine=wants_no_machine(message),
        )

    def _left_by_us(self, message: IncomingMessage) -> bool:
        """Whether a message that we sent is one of the outbox; what its service calls it, as replies will, is noted."""
        service, name = self._crm.records(OutboxMessage), short(message.reference or message.external_id)
        found = service.find(In("message_id", (name, short(message.external_id))), limit=1)
        for each in found:
            if name not in (each.message_id, each.provider_id):
                self._written(partial(service.edit, each.evolve(provider_id=name)))
        return bool(found)

    def _answered(self, message: IncomingMessage) -> int | None:
        """Return the interaction that a message answers: by the nearest reference that is known."""
        names = [short(each) for each in message.replies_to if each.strip()]
        if not names:
            return None
        came = self._crm.records(InboxMessage).find(
            And((Compare("account", "=", self._account), In("reference", tuple(names)))), limit=None
        )
        went = self._crm.records(OutboxMessage).find(In("message_id", tuple(names)), limit=None)
        called = And((Compare("account", "=", self._account), In("provider_id", tuple(names))))
        elsewhere = self._crm.records(OutboxMessage).find(called, limit=None)
        # Of a mail that is on several cards, whoever answers means the one on their own.
        theirs = message.sender.value.casefold()
        nearest = sorted(came, key=lambda each: ((each.sender_value or "").casefold() == theirs, -each.id))
        found = {each.reference: each.interaction_id for each in nearest}
        found |= {each.provider_id or "": each.interaction_id for each in elsewhere if each.interaction_id is not None}
        found |= {each.message_id: each.interaction_id for each in went if each.interaction_id is not None}
        return next((found[name] for name in names if name in found), None)

    def _thread(self, message: IncomingMessage, before: int | None) -> str:
        """Return the conversation: by the channel's own id, then by what is answered, then by the oldest reference.

        The last one joins a reply that comes before what it answers with that, when it comes.
        """
        if message.thread.strip():
            return thread_key(self._account, message.thread)
        if before is not None:
            for answered in self._crm.interactions.get_many([before]):
                if answered.thread:
                    return answered.thread
        oldest = next((each for each in reversed(message.replies_to) if each.strip()), "")
        return thread_key(self._account, oldest or message.reference or message.external_id)

    def _settled(self, message: IncomingMessage, thread: str, at: datetime) -> list[Interaction]:
        """Return what waited in a conversation until then, the oldest first, and waits no longer.

        A call at which both spoke settles the calls that were missed; a message that went out elsewhere, those before.
        """
        settles = message.duration is not None if message.kind == "call" else message.direction == "out"
        if not settles:
            return []
        kind = Compare("kind", "=", message.kind)
        waiting = And((Compare("thread", "=", thread), kind, Compare("needs_answer", "=", 1)))
        found = self._crm.interactions.find(waiting, sort="occurred_at,id", limit=None)
        return [each for each in found if isinstance(each.occurred_at, datetime) and each.occurred_at <= at]

    def _is_loop(self, thread: str, now: datetime) -> bool:
        hour_ago = to_micros(now - timedelta(hours=1))
        where = And(
            (Compare("thread", "=", thread), Compare("direction", "=", "in"), Compare("occurred_at", ">=", hour_ago))
        )
        return self._crm.interactions.count(where) >= _LOOP

    def _hold(
        self, files: Sequence[InboxAttachment], message: IncomingMessage, reason: str, customer_id: int | None
    ) -> None:
        held = held_message(self._account, message, files, reason, customer_id)
        self._crm.records(HeldMessage).add(held)

    def _keep_place(self, done: Intake) -> None:
        assert self._end is not None, "only the last chunk has an end"
        before = state_of(self._crm, self._account) or InboxState(account=self._account)
        cursor = self._end.cursor if self._polled else before.cursor
        at = self._crm.clock.now() if done.new else before.last_message_at
        after = before.evolve(cursor=cursor, last_message_at=at)
        if after == before:  # a look that found nothing leaves no trace
            return
        service = self._crm.records(InboxState)
        service.edit(after) if before.id else service.add(after)
