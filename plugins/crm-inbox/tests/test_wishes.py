"""Who says STOP gets no more messages, and who says START gets those again that STOP ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import attrs
import pytest

from crm_channel_folder.channel import FolderChannel
from crm_core import CRM, Consent, Customer, hookimpl
from crm_core.errors import MessageRejected
from crm_core.events import InteractionsChanging, Veto
from crm_core.extend import IncomingMessage, Receipt, Received, StatusReceipt
from crm_core.values import FixedClock
from crm_inbox import HeldMessage, OutboxMessage, receive, send

from .conftest import NOW
from .test_intake import message
from .test_outbox import only, run

pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def sara(crm: CRM) -> Customer:
    return crm.customers.add(Customer(name="سارا"), email="sara@example.org")


def wished(name: str, wish: Literal["stop", "start"], minutes: int = 0) -> IncomingMessage:
    return message(name, wish=wish, text=wish, at=NOW + timedelta(minutes=minutes))


def consents(crm: CRM) -> list[tuple[str, str, str | None]]:
    return [(each.purpose, each.status, each.source) for each in crm.records(Consent).find(sort="id", limit=None)]


def granted(crm: CRM, customer: Customer, purpose: str, source: str | None = None) -> None:
    (point,) = crm.customers.contact_points(customer.id)
    entry = Consent(contact_point_id=point.id, purpose=purpose, status="granted", at=NOW - timedelta(days=1))
    crm.records(Consent).add(entry.evolve(source=source))


def test_stop_withdraws_every_consent_of_everybody_at_the_address_and_needs_no_answer(crm: CRM, sara: Customer) -> None:
    crm.customers.add(Customer(name="Ali"), email="SARA@example.org")
    granted(crm, sara, "marketing")
    receive(crm, "desk", Received(messages=[wished("1", "stop")]))
    stopped = "STOP at desk"
    assert [("marketing", "withdrawn", stopped), ("service", "withdrawn", stopped)] == consents(crm)[1:3]
    assert [("service", "withdrawn", stopped)] == consents(crm)[3:]
    (said,) = crm.interactions.find()
    assert not said.needs_answer
    send(crm, "Offer", customer=sara.id, purpose="marketing")
    assert ("1 given up", "consent for 'marketing' was withdrawn") == (run(crm), only(crm).reason)


def test_start_gives_back_what_stop_withdrew_and_nothing_else(crm: CRM, sara: Customer) -> None:
    granted(crm, sara, "marketing")
    (point,) = crm.customers.contact_points(sara.id)
    by_link = Consent(contact_point_id=point.id, purpose="news", status="withdrawn", at=NOW, source="a link")
    crm.records(Consent).add(by_link)
    receive(crm, "desk", Received(messages=[wished("1", "start")]))
    assert (2, True) == (len(consents(crm)), crm.interactions.find()[0].needs_answer)
    both = [wished("2", "stop"), wished("3", "stop", 1), wished("4", "start", 2), wished("5", "start", 3)]
    receive(crm, "desk", Received(messages=both))
    receive(crm, "desk", Received(messages=both))
    assert [
        ("marketing", "withdrawn", "STOP at desk"),
        ("service", "withdrawn", "STOP at desk"),
        ("marketing", "granted", "START at desk"),
        ("service", "granted", "START at desk"),
    ] == consents(crm)[2:]
    assert [True, False, False, False, True] == [
        each.needs_answer for each in crm.interactions.find(sort="occurred_at,id")
    ]
    send(crm, "Offer", customer=sara.id, purpose="marketing")
    assert "1 sent" == run(crm)


def test_a_stop_that_comes_after_the_start_behind_it_leaves_consent_withdrawn(crm: CRM, sara: Customer) -> None:
    granted(crm, sara, "marketing")
    receive(crm, "desk", Received(messages=[wished("2", "start", 1)]))
    receive(crm, "desk", Received(messages=[wished("1", "stop")]))
    assert "withdrawn" == consents(crm)[-1][1]


def test_an_unknown_sender_who_says_stop_is_known_as_one_who_wants_nothing(crm: CRM) -> None:
    assert 1 == receive(crm, "desk", Received(messages=[wished("1", "stop")])).leads
    assert [("service", "withdrawn", "STOP at desk")] == consents(crm)
    (lead,) = crm.customers.find()
    send(crm, "Hello", customer=lead.id)
    assert ("1 given up", "consent for 'service' was withdrawn") == (run(crm), only(crm).reason)


def test_a_stop_counts_also_when_a_rule_refuses_the_message(place: Path, clock: FixedClock) -> None:
    class Rules:
        @hookimpl
        def before_interactions_change(self, event: InteractionsChanging) -> Iterable[Veto]:
            return [Veto(index, "body", "no") for index, _ in enumerate(event.changes)]

    with CRM.open(place, clock=clock, plugins=[Rules()]) as crm:
        crm.customers.add(Customer(name="Sara"), email="sara@example.org")
        receive(crm, "desk", Received(messages=[wished("1", "stop")]))
        assert 1 == crm.records(HeldMessage).count()
        assert [("service", "withdrawn", "STOP at desk")] == consents(crm)


def test_a_service_that_sends_nothing_to_who_told_it_so_withdraws_consent_here_too(
    crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Receipt:
        raise MessageRejected("unsubscribed", unsubscribed=True)

    monkeypatch.setattr(FolderChannel, "send", refuse)
    granted(crm, sara, "marketing")
    send(crm, "Offer", customer=sara.id, purpose="marketing")
    send(crm, "Order", customer=sara.id)
    assert "2 given up" == run(crm)
    reasons = [each.reason for each in crm.records(OutboxMessage).find(sort="id")]
    assert ["unsubscribed", "consent for 'service' was withdrawn"] == reasons
    assert [("marketing", "withdrawn"), ("service", "withdrawn")] == [each[:2] for each in consents(crm)[1:]]


def test_a_receipt_that_says_so_does_as_well_however_often_it_comes(crm: CRM, sara: Customer) -> None:
    sent = send(crm, "Order", customer=sara.id)
    run(crm)
    told = StatusReceipt(message_id=sent.message_id, status="failed", reason="blocked", unsubscribed=True)
    for each in (told, told, attrs.evolve(told, unsubscribed=False)):
        receive(crm, "desk", Received(receipts=[each]))
    assert [("service", "withdrawn", "STOP at desk")] == consents(crm)
