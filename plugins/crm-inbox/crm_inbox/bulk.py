"""Campaigns: a template to many, each once under a key, in one operation that goes on after a kill."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_core import ContactPoint, Customer, User
from crm_core.errors import CrmError, DuplicateKey, InvalidValue, NotFound, UsageError
from crm_core.extend import Address, Attachment
from crm_core.query.ast import And, Compare, In
from crm_core.values import format_id, parse_id
from crm_inbox.consent import SERVICE, quiet_until, refusals, zone_of
from crm_inbox.outbox import Draft, drafted, queue, sendable_files, way, ways
from crm_inbox.records import Campaign, InboxAttachment, MessageTemplate, OutboxMessage
from crm_inbox.templates import Letter, in_language, letter, versions
from crm_inbox.unsubscribing import link_of, settings_of

if TYPE_CHECKING:
    from crm_core import CRM
    from crm_inbox.unsubscribing import UnsubscribeSettings

_CHUNK: Final = 100
"""Messages of one transaction: about as long as a database may be locked for."""
_ATTEMPTS: Final = 3
_AGAIN: Final = "the address has it already"
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
            run.count(people[at : at + _CHUNK])
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

    customer_id: int
    draft: Draft
    quiet: bool


@attrs.frozen(kw_only=True)
class _Reached:
    """Somebody whom an account reaches, at an address that a contact point of theirs is."""

    customer: Customer
    account: str
    address: Address
    everybody: Sequence[ContactPoint]
    """The contact points of all who share the address."""

    @property
    def point(self) -> ContactPoint | None:
        """Their own contact point."""
        return next((each for each in self.everybody if each.customer_id == self.customer.id), None)


@attrs.define
class _Counted:
    """What came of some of the people."""

    counts: Counter[str] = attrs.field(factory=Counter)
    reasons: Counter[str] = attrs.field(factory=Counter)

    def add(self, other: _Counted) -> None:
        self.counts += other.counts
        self.reasons += other.reasons


class _Run:
    """One going over the people, with what was counted. What is looked up is looked up for a chunk at once."""

    def __init__(self, crm: CRM, mailing: Mailing) -> None:
        self._crm = crm
        self._mailing = mailing
        self._versions: list[MessageTemplate] = versions(crm, mailing.template)
        self._leaving: UnsubscribeSettings | None = settings_of(crm) if mailing.purpose != SERVICE else None
        self._ways = ways(crm, mailing.account)
        self._channels = {name: crm.channels.type_of(name).name for name in self._ways}
        self._files: list[InboxAttachment] | None = None
        self._counted = _Counted()
        self._tried: set[bytes] = set()
        """Digests of the addresses of a dry run; a real one finds them in the outbox."""

    def report(self, people: int, operation: int | None) -> MailingReport:
        """Return what was counted."""
        counts = self._counted.counts
        return MailingReport(
            campaign=self._mailing.key,
            people=people,
            queued=counts["queued"],
            before=counts["before"],
            quiet=counts["quiet"],
            left_out=dict(self._counted.reasons.most_common()),
            operation=operation,
        )

    def count(self, chunk: Sequence[int]) -> None:
        """Count the messages of some customers, without writing any."""
        ready, counted = self._look(chunk)
        free = self._free(ready, counted)
        for each in free:
            key = bytes.fromhex(each.draft.message.once or "")
            if key in self._tried:
                counted.reasons[_AGAIN] += 1
                continue
            self._tried.add(key)
            counted.counts += Counter(queued=1, quiet=int(each.quiet))
        self._counted.add(counted)

    def store(self, chunk: Sequence[int], operation: int) -> None:
        """Queue the messages of a chunk, in one transaction; again when another run was at the same people."""
        if self._files is None:
            self._files = sendable_files(self._crm, self._mailing.attachments)
        ready, looked = self._look(chunk)
        for attempt in range(1, _ATTEMPTS + 1):

            def once() -> _Counted:
                counted = _Counted()
                with self._crm.transaction():
                    self._queue(self._free(ready, counted), counted)
                    self._note(operation)
                return counted

            try:
                counted = self._crm.retried(once)
            except DuplicateKey:
                if attempt == _ATTEMPTS:
                    raise
            else:
                self._counted.add(looked)
                self._counted.add(counted)
                return

    def _queue(self, ready: Sequence[_Ready], counted: _Counted) -> None:
        for each, queued in zip(ready, queue(self._crm, [each.draft for each in ready]), strict=True):
            if isinstance(queued, CrmError):
                counted.reasons[queued.message] += 1
            else:
                counted.counts += Counter(queued=1, quiet=int(each.quiet))

    def _note(self, operation: int) -> None:
        """Keep the campaign, with the operation that is to go on when it is cut off."""
        mailing, service = self._mailing, self._crm.records(Campaign)
        if not service.count(Compare("key", "=", mailing.key)):
            made = Campaign(key=mailing.key, template=mailing.template, purpose=mailing.purpose)
            service.add(made.evolve(operation=format_id(operation)))

    def _having(self, people: Sequence[int]) -> set[int]:
        """Return those who have a message of the campaign."""
        where = And((Compare("campaign", "=", self._mailing.key), In("customer_id", tuple(people))))
        return {each.customer_id or 0 for each in self._crm.records(OutboxMessage).find(where, limit=None)}

    def _free(self, ready: Sequence[_Ready], counted: _Counted) -> list[_Ready]:
        """Return the messages of those who have none yet, nor has their address, and count the others."""
        if not ready:
            return []
        having = self._having([each.customer_id for each in ready])
        names = tuple(each.draft.message.once or "" for each in ready)
        taken = {each.once for each in self._crm.records(OutboxMessage).find(In("once", names), limit=None)}
        free = []
        for each in ready:
            if each.customer_id in having:
                counted.counts["before"] += 1
            elif each.draft.message.once in taken:
                counted.reasons[_AGAIN] += 1
            else:
                taken.add(each.draft.message.once)
                free.append(each)
        return free

    def _look(self, chunk: Sequence[int]) -> tuple[list[_Ready], _Counted]:
        """Return the messages of those who may get one, and count the others with their reasons."""
        counted = _Counted()
        having = self._having(chunk)
        counted.counts["before"] += len(having)
        people = [each for each in self._crm.customers.get_many(list(chunk)) if each.id not in having]
        reached = self._reached(people, counted)
        told = refusals(self._crm, [each.everybody for each in reached], self._mailing.purpose)
        owners = self._owners(people)
        found = []
        for each, reason in zip(reached, told, strict=True):
            made = reason or self._ready(each, owners)
            if isinstance(made, str):
                counted.reasons[made] += 1
            else:
                found.append(made)
        return found, counted

    def _reached(self, people: Sequence[Customer], counted: _Counted) -> list[_Reached]:
        crm, points = self._crm, defaultdict[int, list[ContactPoint]](list)
        of_them = In("customer_id", tuple(each.id for each in people))
        for point in crm.contact_points.find(of_them, limit=None) if people else ():
            points[point.customer_id].append(point)
        chosen: list[tuple[Customer, str, Address]] = []
        for each in people:
            try:
                chosen.append((each, *way(self._ways, None, None, each, points[each.id])))
            except NotFound:
                counted.reasons["there is no address that an account reaches"] += 1
        sharing = crm.contact_points.reached_at_many([(to.kind, to.value, each.country) for each, _, to in chosen])
        return [
            _Reached(customer=each, account=account, address=to, everybody=everybody)
            for (each, account, to), everybody in zip(chosen, sharing, strict=True)
        ]

    def _owners(self, people: Sequence[Customer]) -> dict[int, User]:
        ids = sorted({each.owner_id for each in people if each.owner_id is not None})
        return {each.id: each for each in self._crm.users.get_many(ids)}

    def _ready(self, reached: _Reached, owners: Mapping[int, User]) -> _Ready | str:
        """Return the message of a customer, or why there is none."""
        crm, mailing, customer, point = self._crm, self._mailing, reached.customer, reached.point
        if reached.address.kind == "email" and mailing.purpose != SERVICE and self._leaving is None:
            raise UsageError(
                "nobody could unsubscribe: no account for it is declared",
                hint='[channels.leave] with type = "unsubscribe", a secret and its url declares one (crm-channel-web)',
            )
        leave = link_of(self._leaving, point.id, mailing.purpose) if self._leaving and point else ""
        values = {**({"unsubscribe_url": leave} if leave else {}), **mailing.values}
        try:
            said = letter(crm, in_language(self._versions, customer.language), customer, values, owners)
            draft = self._draft(reached, said)
        except InvalidValue as error:
            return error.message
        hours = crm.channels.account(reached.account).quiet_hours if mailing.purpose != SERVICE else None
        at = max(mailing.not_before or crm.clock.now(), crm.clock.now())
        quiet = quiet_until(hours, at, zone_of(customer.time_zone, crm.zone)) is not None
        return _Ready(customer_id=customer.id, draft=draft, quiet=quiet)

    def _draft(self, reached: _Reached, said: Letter) -> Draft:
        mailing, point = self._mailing, reached.point
        key = (point.key if point is not None else None) or reached.address.value
        return drafted(
            self._crm,
            account=reached.account,
            channel=self._channels[reached.account],
            address=reached.address,
            text=said.text,
            subject=said.subject,
            customer_id=reached.customer.id,
            files=self._files or (),
            contact_point_id=point.id if point is not None else None,
            html=said.html,
            purpose=mailing.purpose,
            not_before=mailing.not_before,
            campaign=mailing.key,
            once=_digest(mailing.key, reached.address.kind, key),
        )


def _digest(key: str, kind: str, address: str) -> str:
    return hashlib.sha256(json.dumps([key, kind, address]).encode()).hexdigest()
