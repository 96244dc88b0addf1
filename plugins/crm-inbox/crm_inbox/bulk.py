"""Campaigns: a template to many, each once under a key, in one operation that goes on after a kill."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core import Customer
from crm_core.errors import DuplicateKey, InvalidValue, NotFound, UsageError
from crm_core.extend import Address, Attachment
from crm_core.query.ast import And, Compare, In
from crm_core.values import format_id, parse_id
from crm_inbox.consent import SERVICE, points_at, quiet_until, refusal, zone_of
from crm_inbox.outbox import send, way
from crm_inbox.records import Campaign, MessageTemplate, OutboxMessage
from crm_inbox.templates import Letter, in_language, letter, versions
from crm_inbox.unsubscribing import link_of, settings_of

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_inbox.unsubscribing import UnsubscribeSettings

_CHUNK: Final = 50
"""Messages of one transaction: about as long as a database may be locked for."""
_ATTEMPTS: Final = 3
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Mailing:
    """What is to be sent to many: a template for a purpose, under a key.

    Args:
        template: the template's name.
        key: the campaign's; nobody gets a message twice under one.
        purpose: what consent is looked up for.
        account: by which account; without it the first that reaches each.
        values: further names that the template may use.
        attachments: files that go with it.
        not_before: when it may leave at the earliest.
    """

    template: str
    key: str
    purpose: str = "marketing"
    account: str = ""
    values: Mapping[str, Any] = _NOTHING
    attachments: tuple[Attachment, ...] = ()
    not_before: datetime | None = None


@attrs.frozen(kw_only=True)
class MailingReport:
    """What became of a mailing: of so many `people` who is `queued`, had it `before`, or was left out, and why.

    `quiet` of the queued wait for the end of their quiet hours.
    """

    campaign: str
    people: int
    queued: int
    before: int
    quiet: int
    left_out: Mapping[str, int]
    operation: int | None = None


def send_to_many(
    crm: CRM,
    mailing: Mailing,
    people: Sequence[int],
    *,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda count: None,
) -> MailingReport:
    """Put a message for each of many customers into the outbox, as one operation that can be undone.

    Killed at any moment and called again with the same key it goes on, in the same operation. Whoever has a message of
    the campaign gets no other one, nor does their address.

    Args:
        crm: the CRM.
        mailing: what is sent.
        people: whom it is for, by id.
        dry_run: only count.
        told: is told how many more were dealt with.

    Raises:
        NotFound: there is no such template or account.
        UsageError: the key was used for another template or purpose, or nobody could unsubscribe from bulk mail.
    """
    campaign = _campaign(crm, mailing)
    run = _Run(crm, mailing)
    if dry_run:
        for at in range(0, len(people), _CHUNK):
            run.take(people[at : at + _CHUNK], write=False)
            told(len(people[at : at + _CHUNK]))
        return run.report(len(people), None)
    with _operation(crm, mailing, campaign) as operation:
        for at in range(0, len(people), _CHUNK):
            chunk = people[at : at + _CHUNK]
            run.store(chunk, operation.id)
            told(len(chunk))
    return run.report(len(people), operation.id)


def _campaign(crm: CRM, mailing: Mailing) -> Campaign | None:
    found = list(crm.records(Campaign).find(Compare("key", "=", mailing.key), limit=1))
    if not found:
        return None
    was = found[0]
    if (was.template, was.purpose) != (mailing.template, mailing.purpose):
        raise UsageError(
            f"the campaign {was.key!r} was the template {was.template!r} for {was.purpose!r}",
            hint="--campaign names another key",
        )
    return was


@contextmanager
def _operation(crm: CRM, mailing: Mailing, campaign: Campaign | None) -> Iterator[Any]:
    """Go on with the operation of a campaign that was cut off, else begin one."""
    if campaign is not None and campaign.operation:
        entry = crm.ledger.get(parse_id(campaign.operation))
        if entry.state == "incomplete":
            with crm.ledger.resumed(entry) as resumed:
                yield resumed
            return
    with crm.operation(f"send {mailing.key}", detail={"campaign": mailing.key}, recorded=True) as operation:
        yield operation


@attrs.frozen(kw_only=True)
class _Ready:
    """A message that may be queued."""

    customer: Customer
    account: str
    address: Address
    said: Letter
    once: str
    quiet: bool


class _Run:
    """One going over the people, with what was counted."""

    def __init__(self, crm: CRM, mailing: Mailing) -> None:
        self._crm = crm
        self._mailing = mailing
        self._versions: list[MessageTemplate] = versions(crm, mailing.template)
        self._leaving: UnsubscribeSettings | None = settings_of(crm) if mailing.purpose != SERVICE else None
        self._seen: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()

    def report(self, people: int, operation: int | None) -> MailingReport:
        """Return what was counted."""
        return MailingReport(
            campaign=self._mailing.key,
            people=people,
            queued=self._counts["queued"],
            before=self._counts["before"],
            quiet=self._counts["quiet"],
            left_out=dict(self._reasons.most_common()),
            operation=operation,
        )

    def store(self, chunk: Sequence[int], operation: int) -> None:
        """Queue the messages of a chunk, in one transaction; again when another run was at the same people."""
        seen, counts, reasons = self._seen, self._counts, self._reasons
        for attempt in range(1, _ATTEMPTS + 1):

            def once() -> None:
                self._seen, self._counts, self._reasons = seen.copy(), counts.copy(), reasons.copy()
                with self._crm.transaction():
                    self.take(chunk, write=True)
                    self._note(operation)

            try:
                self._crm.retried(once)
            except DuplicateKey:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return

    def take(self, chunk: Sequence[int], *, write: bool) -> None:
        """Count, and queue if told to, the messages of some customers."""
        crm, key = self._crm, self._mailing.key
        had = crm.records(OutboxMessage).find(
            And((Compare("campaign", "=", key), In("customer_id", tuple(chunk)))), limit=None
        )
        having = {each.customer_id for each in had}
        self._counts["before"] += len(having)
        ready = [self._ready(each) for each in crm.customers.get_many(list(chunk)) if each.id not in having]
        found = [each for each in ready if each is not None]
        taken = {each.once for each in self._taken(found)}
        for each in found:
            if each.once in taken:
                self._reasons["the address has it already"] += 1
                continue
            self._counts["queued"] += 1
            self._counts["quiet"] += each.quiet
            if write:
                self._queue(each)

    def _note(self, operation: int) -> None:
        """Keep the campaign, with the operation that is to go on when it is cut off."""
        mailing, service = self._mailing, self._crm.records(Campaign)
        if not service.count(Compare("key", "=", mailing.key)):
            made = Campaign(key=mailing.key, template=mailing.template, purpose=mailing.purpose)
            service.add(made.evolve(operation=format_id(operation)))

    def _taken(self, ready: Sequence[_Ready]) -> list[OutboxMessage]:
        names = tuple(each.once for each in ready)
        return list(self._crm.records(OutboxMessage).find(In("once", names), limit=None)) if names else []

    def _ready(self, customer: Customer) -> _Ready | None:
        """Return the message of a customer; None, and the reason counted, if they are left out."""
        crm, mailing = self._crm, self._mailing
        try:
            account, address = way(crm, mailing.account, None, None, customer)
        except NotFound:
            return self._left_out("there is no address that an account reaches")
        points = points_at(crm, address.kind, address.value, customer.id)
        point = next((each for each in points if each.customer_id == customer.id), None)
        once = _digest(mailing.key, address.kind, (point.key if point is not None else None) or address.value)
        if once in self._seen:
            return self._left_out("the address has it already")
        asked = OutboxMessage(
            message_id="<asked>",
            account=account,
            customer_id=customer.id,
            address_kind=address.kind,
            address=address.value,
            purpose=mailing.purpose,
        )
        if told := refusal(crm, asked):
            return self._left_out(told)
        if address.kind == "email" and mailing.purpose != SERVICE and self._leaving is None:
            raise UsageError(
                "nobody could unsubscribe: no account for it is declared",
                hint='[channels.leave] with type = "unsubscribe", a secret and its url declares one (crm-channel-web)',
            )
        leave = link_of(self._leaving, point.id, mailing.purpose) if self._leaving and point else ""
        values = {**({"unsubscribe_url": leave} if leave else {}), **mailing.values}
        try:
            said = letter(crm, in_language(self._versions, customer.language), customer, values)
        except InvalidValue as error:
            return self._left_out(error.message)
        self._seen.add(once)
        hours = crm.channels.account(account).quiet_hours if mailing.purpose != SERVICE else None
        at = max(mailing.not_before or crm.clock.now(), crm.clock.now())
        quiet = quiet_until(hours, at, zone_of(customer.time_zone, crm.zone)) is not None
        return _Ready(customer=customer, account=account, address=address, said=said, once=once, quiet=quiet)

    def _left_out(self, reason: str) -> _Ready | None:
        self._reasons[reason] += 1
        return None

    def _queue(self, ready: _Ready) -> None:
        send(
            self._crm,
            ready.said.text,
            customer=ready.customer.id,
            account=ready.account,
            to=ready.address,
            subject=ready.said.subject,
            html=ready.said.html,
            attachments=self._mailing.attachments,
            purpose=self._mailing.purpose,
            not_before=self._mailing.not_before,
            campaign=self._mailing.key,
            once=ready.once,
        )


def _digest(key: str, kind: str, address: str) -> str:
    return hashlib.sha256(json.dumps([key, kind, address]).encode()).hexdigest()
