"""The outbox: a message that is to leave is a record first, and an interaction of the customer's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from secrets import token_hex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core import ContactPoint, Customer, Interaction, Write
from crm_core.errors import CrmError, MessageRejected, NotFound, UsageError
from crm_core.extend import Address, Attachment, OutgoingMessage
from crm_core.query.ast import And, Compare
from crm_core.values import format_id, new_id, to_micros
from crm_inbox.consent import SERVICE, points_at
from crm_inbox.intake import kept_files, thread_key
from crm_inbox.records import InboxAttachment, InboxMessage, OutboxMessage
from crm_inbox.templates import in_language, letter, versions

if TYPE_CHECKING:
    from crm_core import CRM

_PAUSE: Final = timedelta(days=1)
"""How long a thread that got an automatic message gets no other one."""
_REFERENCES: Final = 20
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def send(
    crm: CRM,
    text: str = "",
    *,
    customer: int | None = None,
    answers: Interaction | None = None,
    account: str = "",
    to: Address | None = None,
    subject: str = "",
    html: str = "",
    template: str = "",
    values: Mapping[str, Any] = _NOTHING,
    attachments: Sequence[Attachment] = (),
    headers: Mapping[str, str] = _NOTHING,
    purpose: str = SERVICE,
    automatic: bool = False,
    not_before: datetime | None = None,
    campaign: str = "",
    once: str = "",
) -> OutboxMessage:
    """Put a message into the outbox, to a customer or as an answer; `crm run` sends it.

    Whether it may leave (consent, quiet hours, the account's pace) is looked at when it is about to.

    Args:
        crm: the CRM.
        text: what it says.
        customer: whom it is for; not needed for an answer.
        answers: the interaction it answers, which with all before it in its thread then waits no longer.
        account: by which account; without it the one that the answered message came by, or the first that reaches the
            customer.
        to: the address; without it the sender of what is answered, or the customer's primary one.
        subject: its subject; that of what is answered without it.
        html: the same as HTML, for channels that show it.
        template: the name of a template that says it, in the customer's language, in place of `text`.
        values: further names that the template may use.
        attachments: files that go with it.
        headers: further headers, by name, for channels that have such.
        purpose: what consent is looked up for: "service" for answers and what a contract needs.
        automatic: whether no person wrote it.
        not_before: when it may leave at the earliest.
        campaign: the key of the campaign that it is part of.
        once: a text of which the outbox holds one message at most.

    Raises:
        NotFound: no account, or no address of the customer, fits; or there is no such template.
        UsageError: there is nothing to say, or nobody to say it to; or a file cannot be sent.
        InvalidValue: a header or the subject is not one line, or the template uses what is not known.
        MessageRejected: it is automatic, and what it answers was written by a machine or asks for no such answer, or
            the thread got one within a day.
        DuplicateKey: the outbox holds a message with the same `once`.
    """
    now = crm.clock.now()
    before = _came(crm, answers)
    customer_id = customer if customer is not None else answers.customer_id if answers is not None else None
    person = crm.customers.get(customer_id) if customer_id is not None else None
    if template:
        if text.strip():
            raise UsageError("a message with a text and a template", hint="say one of them")
        said = letter(crm, in_language(versions(crm, template), person.language if person else None), person, values)
        text, subject, html = said.text, subject or said.subject, html or said.html
    if not text.strip():
        raise UsageError("a message without text", hint="say something, or name a template")
    points = crm.customers.contact_points(person.id) if person is not None else []
    account, address = way(ways(crm, account, before), to, before, person, points)
    thread = answers.thread if answers is not None else None
    if automatic:
        _require_no_loop(crm, before, thread, now)
    subject = subject or (_reply_subject(answers.subject) if answers is not None else "")
    draft = drafted(
        crm,
        account=account,
        channel=crm.channels.type_of(account).name,
        address=address,
        text=text,
        subject=subject,
        customer_id=customer_id,
        answers=answers,
        before=before,
        files=sendable_files(crm, attachments),
        contact_point_id=_point(crm, address, person),
        html=html,
        headers=headers,
        purpose=purpose,
        automatic=automatic,
        not_before=not_before,
        campaign=campaign,
        once=once,
    )
    with crm.transaction():
        (queued,) = queue(crm, [draft])
        if isinstance(queued, CrmError):
            raise queued
        if answers is not None and not automatic:
            settle(crm, answers, now)
        return queued


@attrs.frozen(kw_only=True)
class Draft:
    """A message that may be queued: what the customer's history says of it, how it leaves, and its files."""

    interaction: Interaction
    message: OutboxMessage
    files: Sequence[InboxAttachment] = ()


def queue(crm: CRM, drafts: Sequence[Draft]) -> list[OutboxMessage | CrmError]:
    """Put messages into the outbox in one transaction; returns each as stored, or why a rule refuses it.

    Raises:
        DuplicateKey: the outbox holds a message with the same `once` as one of them.
    """
    with crm.transaction():
        outcome = crm.interactions.write_many([Write(record=each.interaction) for each in drafts])
        refused = {each.index: each.error for each in outcome.refused}
        pairs = [(made.id, each) for made, each in zip(outcome.records, drafts, strict=True) if made is not None]
        crm.records(InboxAttachment).add_many(
            file.evolve(interaction_id=made) for made, each in pairs for file in each.files
        )
        stored = iter(
            crm.records(OutboxMessage).add_many(each.message.evolve(interaction_id=made) for made, each in pairs)
        )
        return [refused[number] if number in refused else next(stored) for number in range(len(drafts))]


def drafted(
    crm: CRM,
    *,
    account: str,
    channel: str,
    address: Address,
    text: str,
    subject: str,
    customer_id: int | None,
    contact_point_id: int | None,
    purpose: str,
    answers: Interaction | None = None,
    before: InboxMessage | None = None,
    files: Sequence[InboxAttachment] = (),
    html: str = "",
    headers: Mapping[str, str] = _NOTHING,
    automatic: bool = False,
    not_before: datetime | None = None,
    campaign: str = "",
    once: str = "",
) -> Draft:
    """Return a message as it would be queued, of which all is known: `channel` is that of the account.

    Raises:
        InvalidValue: a header, the address or the subject is not one line.
    """
    now, thread = crm.clock.now(), answers.thread if answers is not None else None
    message_id = f"<{format_id(new_id())}.{token_hex(8)}@{account}.crm>"
    # Refused here, where whoever says it is told, and not when it is about to leave.
    OutgoingMessage(message_id=message_id, recipient=address, subject=subject, headers=headers)
    interaction = Interaction(
        customer_id=customer_id,
        channel=channel,
        direction="out",
        kind="message",
        topic=answers.topic if answers is not None else None,
        occurred_at=now,
        subject=subject or None,
        body=text,
        author_id=None if automatic else crm.user_id,
        thread=thread or thread_key(account, message_id),
        in_reply_to_id=answers.id if answers is not None else None,
    )
    message = OutboxMessage(
        message_id=message_id,
        account=account,
        customer_id=customer_id,
        contact_point_id=contact_point_id,
        address_kind=address.kind,
        address=address.value,
        name=address.name or None,
        thread=before.thread if before is not None else None,
        replies_to="\n".join(_references(crm, before, thread)) or None,
        html=html or None,
        headers=json.dumps(dict(headers), ensure_ascii=True) if headers else None,
        purpose=purpose,
        automatic=automatic,
        campaign=campaign or None,
        once=once or None,
        next_at=max(not_before, now) if not_before is not None else now,
    )
    return Draft(interaction=interaction, message=message, files=files)


class Outbox:
    """What `crm.outbox` is: the outbox of one CRM, for plugins."""

    def __init__(self, crm: CRM) -> None:
        self._crm = crm

    def send(self, text: str = "", **how: Any) -> OutboxMessage:
        """Put a message into the outbox; the arguments are those of `crm_inbox.send`."""
        return send(self._crm, text, **how)


def _point(crm: CRM, address: Address, person: Customer | None) -> int | None:
    if person is None:
        return None
    points = points_at(crm, address.kind, address.value, person)
    return next((point.id for point in points if point.customer_id == person.id), None)


def sendable_files(crm: CRM, given: Sequence[Attachment]) -> list[InboxAttachment]:
    """Keep files that are to leave.

    Raises:
        UsageError: one of them is too large or a program, or there are too many.
    """
    files = kept_files(crm, given)
    for each in files:
        if each.refused:
            raise UsageError(f"the file {each.name!r} cannot be sent: {each.refused}", hint="send a link to it instead")
    return files


def _came(crm: CRM, answers: Interaction | None) -> InboxMessage | None:
    if answers is None:
        return None
    found = crm.records(InboxMessage).find(Compare("interaction_id", "=", answers.id), limit=1)
    return found[0] if found else None


def ways(crm: CRM, account: str = "", before: InboxMessage | None = None) -> dict[str, str]:
    """Return the kind of address that each account reaches by which a message may leave, the preferred one first.

    Args:
        crm: the CRM.
        account: the only one that may be taken; without it all that can send.
        before: the message that is answered, by whose account the answer leaves.

    Raises:
        NotFound: there is no such account.
        UsageError: it cannot send.
    """
    found = {}
    for name in [account] if account else _accounts(crm, before):
        kind = crm.channels.type_of(name)
        if "send" not in kind.capabilities:
            raise UsageError(f"the account {name!r} cannot send", hint="crm channels status shows what each can do")
        found[name] = kind.address_kind
    return found


def way(
    kinds: Mapping[str, str],
    to: Address | None,
    before: InboxMessage | None,
    person: Customer | None,
    points: Sequence[ContactPoint],
) -> tuple[str, Address]:
    """Return by which account a message leaves and for which address.

    Args:
        kinds: the accounts that may be taken, as `ways` returns them.
        to: the address, where it is said.
        before: the message that is answered.
        person: whom it is for.
        points: how the person is reached.

    Raises:
        NotFound: none of the accounts reaches them.
        UsageError: it is for nobody.
    """
    for name, kind in kinds.items():
        if to is not None and to.kind == kind:
            return name, to
        if to is None and before is not None and before.account == name:
            return name, Address(kind=before.sender_kind, value=before.sender_value, name=before.sender_name or "")
        if to is None and (point := _best(points, kind)) is not None:
            called = " ".join((person.name or "").split()) if person is not None else ""
            return name, Address(kind=kind, value=point.value, name=called)
    if person is None and to is None:
        raise UsageError("a message for nobody", hint="name a customer, an address, or what it answers")
    needed = ", ".join(sorted(set(kinds.values()))) or "none"
    raise NotFound(
        f"no account reaches them: {needed} is needed", hint="crm channels status; crm customers show lists addresses"
    )


def _accounts(crm: CRM, before: InboxMessage | None) -> list[str]:
    """Return the accounts that can send: the one that a message came by first, then in the order of the file."""
    found = [before.account] if before is not None and before.account in crm.channels.accounts else []
    for name in crm.channels.accounts:
        try:
            able = "send" in crm.channels.type_of(name).capabilities
        except CrmError:  # one that is wrong stops no other
            continue
        found += [name] if able and name not in found else []
    return found


def _best(points: Sequence[ContactPoint], kind: str) -> ContactPoint | None:
    of_kind = [point for point in points if point.kind == kind]
    return min(of_kind, key=lambda point: (not point.primary, point.id), default=None)


def _references(crm: CRM, before: InboxMessage | None, thread: str | None) -> list[str]:
    """Return what a reply names: the message it answers, then those before it in the thread."""
    if before is None or thread is None:
        return []
    talk = crm.interactions.find(Compare("thread", "=", thread), sort="-occurred_at", limit=_REFERENCES)
    told = {before.reference: None}
    for one in talk:
        for came in crm.records(InboxMessage).find(Compare("interaction_id", "=", one.id)):
            told[came.reference] = None
    return list(told)


def settle(crm: CRM, answers: Interaction, now: datetime) -> None:
    """Mark as answered what is answered, and what waits in the same thread."""
    waiting = {answers.id: answers} if answers.needs_answer else {}
    if answers.thread:
        where = And((Compare("thread", "=", answers.thread), Compare("needs_answer", "=", 1)))
        waiting |= {one.id: one for one in crm.interactions.find(where, limit=None)}
    crm.interactions.edit_many(one.evolve(needs_answer=False, answered_at=now) for one in waiting.values())


def _require_no_loop(crm: CRM, before: InboxMessage | None, thread: str | None, now: datetime) -> None:
    if before is not None and before.automatic != "person":
        raise MessageRejected(f"what it answers is a {before.automatic}, and machines do not answer machines")
    if before is not None and before.no_machine:
        raise MessageRejected("what it answers asks for no automatic answer (X-Auto-Response-Suppress)")
    if thread is None:
        return
    talk = crm.interactions.find(
        And(
            (
                Compare("thread", "=", thread),
                Compare("direction", "=", "out"),
                Compare("occurred_at", ">=", to_micros(now - _PAUSE)),
            )
        ),
        limit=None,
    )
    for one in talk:
        where = And((Compare("interaction_id", "=", one.id), Compare("automatic", "=", 1)))
        if crm.records(OutboxMessage).count(where):
            raise MessageRejected("the thread got an automatic message within a day")


def _reply_subject(subject: str | None) -> str:
    told = " ".join((subject or "").split())
    return told if not told or told.casefold().startswith("re:") else f"Re: {told}"[:1000]
