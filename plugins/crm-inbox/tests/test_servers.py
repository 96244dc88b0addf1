"""Intake and outbox on every database, with several at work at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from threading import Barrier
from typing import Any

import pytest

from crm_channel_folder.channel import FolderChannel
from crm_core import CRM, Customer, Deal, Interaction
from crm_core.extend import Address, JobRun, OutgoingMessage, Receipt, Received, StatusReceipt
from crm_core.records import ContactPoint
from crm_inbox import (
    Campaign,
    EarlyReceipt,
    HeldMessage,
    InboxMessage,
    Mailing,
    MessageTemplate,
    OutboxMessage,
    receive,
    send,
    send_to_many,
)
from crm_inbox.held import held_message
from crm_inbox.sending import send_account
from tests.databases import DATABASES
from tests.opening import url_for

from .conftest import Arrive
from .test_intake import message


@pytest.fixture(params=DATABASES)
def houses(request: pytest.FixtureRequest, place: Path) -> Iterator[list[CRM]]:
    """Two CRMs on one workspace."""
    with url_for(str(request.param), place) as url, ExitStack() as opened:
        text = (place / "crm.toml").read_text("utf-8").replace("sqlite:///crm.db", url)
        (place / "crm.toml").write_text(text, "utf-8")
        with CRM.open(url):  # whoever is the first makes the tables
            pass
        yield [opened.enter_context(CRM.open(place)) for _ in range(2)]


def together(*calls: Any) -> list[Any]:
    """Call functions at the same moment."""
    begin = Barrier(len(calls))

    def call(one: Any) -> Any:
        begin.wait(10)
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [each.result(60) for each in [pool.submit(call, one) for one in calls]]


def test_a_message_that_comes_by_two_ways_at_once_is_stored_once(houses: list[CRM]) -> None:
    first, second = houses
    for part in range(5):
        batch = Received(messages=[message(f"{part}-{number}") for number in range(20)])
        done = together(lambda b=batch: receive(first, "desk", b), lambda b=batch: receive(second, "desk", b))  # type: ignore[misc]
        assert (20, 20) == (sum(one.new for one in done), sum(one.known for one in done))
    assert 100 == first.interactions.count() == first.records(InboxMessage).count()
    assert 1 == first.customers.count()


def test_a_message_leaves_once_however_many_workers_there_are(
    houses: list[CRM], arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    real = FolderChannel.send

    def count(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        sent.append(message.message_id)
        return real(self, message)

    monkeypatch.setattr(FolderChannel, "send", count)
    sara = houses[0].customers.add(Customer(name="سارا"), email="sara@example.org")
    wanted = [send(houses[0], f"Hello {number}", customer=sara.id).message_id for number in range(30)]
    arrive("1")
    for _ in range(3):
        together(*(house.jobs.run for house in houses))
    assert Counter(wanted) == Counter(sent)
    assert 30 == houses[0].records(OutboxMessage).count('status = "sent"')
    assert 1 == houses[0].interactions.count('direction = "in"')


def test_no_receipt_is_lost_however_soon_it_comes(houses: list[CRM], monkeypatch: pytest.MonkeyPatch) -> None:
    worker, webhooks = houses
    told: Queue[str] = Queue()

    def send_and_tell(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        told.put(f"theirs {message.message_id}")
        return Receipt(provider_id=f"theirs {message.message_id}")

    def hear() -> None:
        for name in iter(told.get, ""):
            receipts = [StatusReceipt(message_id=name, status="delivered")]
            receive(webhooks, "desk", Received(receipts=receipts))

    monkeypatch.setattr(FolderChannel, "send", send_and_tell)
    sara = worker.customers.add(Customer(name="سارا"), email="sara@example.org")
    for number in range(30):
        send(worker, f"Hello {number}", customer=sara.id)
    with ThreadPoolExecutor(1) as pool:
        hearing = pool.submit(hear)
        assert "30 sent" == send_account(JobRun(crm=worker, part="desk", stopping=lambda: False)).told
        told.put("")
        hearing.result(60)
    worker.jobs.run()
    assert 0 == worker.records(EarlyReceipt).count()
    assert Counter(delivered=30) == Counter(each.status for each in worker.records(OutboxMessage).find())


def test_what_came_of_a_person_before_they_were_known_goes_with_them(houses: list[CRM]) -> None:
    crm, _ = houses
    canary, joanna, both = (
        Address(kind="email", value=value)
        for value in ("Canary@example.org", "jo-canary@example.org", "both@example.org")
    )
    texts = {
        "from": message("1", text="CANARYWORD", sender=canary),
        "in text": message("2", text="Ask\ncanary@example.org, CANARYWORD", sender=joanna),
        "by phone": message("3", text="CANARYWORD: +49 (30) 1234-567", sender=joanna),
        "longer": message("4", text="x.canary@example.org, 0493012345678", sender=joanna),
        "of two": message("5", text="either", sender=both),
        "gone": message("6", text="CANARYWORD", sender=canary),
    }
    service = crm.records(HeldMessage)
    held = {name: service.add(held_message("desk", one, (), "a rule", None)) for name, one in texts.items()}
    service.delete(held.pop("gone"))
    loose = [crm.interactions.add(Interaction(body=body)) for body in ("CANARYWORD", "CANARYWORD", "of another")]
    for said, sender in zip(loose, ("canary@example.org", "canary@example.org", "else@example.org"), strict=True):
        note = InboxMessage(
            interaction_id=said.id,
            account="desk",
            reference="r",
            sender_kind="email",
            sender="unknown",
            sender_value=sender,
        )
        crm.records(InboxMessage).add(note)
    crm.interactions.delete(loose[1])
    other = crm.customers.add(Customer(name="W"), email=both.value)
    deal = crm.deals.add(Deal(title="Of another", customer_id=other.id))
    about = crm.interactions.add(Interaction(deal_id=deal.id, body="canary@example.org stays"))
    person = crm.customers.add(Customer(name="CANARYWORD"), email=canary.value, phone="+49301234567")
    crm.contact_points.add(ContactPoint(customer_id=person.id, kind="email", value=both.value))

    told = str(crm.privacy.export(person.id))
    assert "CANARYWORD: +49" in told
    crm.privacy.erase(person.id)
    tables = crm.storage.schema().tables  # type: ignore[union-attr]
    rows = [str(row) for table in tables for row in crm.storage.find(table)]
    assert [] == [row for row in rows if "CANARYWORD" in row or "Canary@" in row]
    erased = {name for name, one in held.items() if crm.records(HeldMessage).get(one.id).content == "(erased)"}
    assert {"from", "in text", "by phone"} == erased
    assert [None, "of another"] == [crm.interactions.get(loose[at].id).body for at in (0, 2)]
    assert "canary@example.org stays" == crm.interactions.get(about.id).body
    assert crm.ledger.verify().intact


def test_a_campaign_that_is_begun_twice_at_once_reaches_everybody_once(houses: list[CRM]) -> None:
    first, second = houses
    first.records(MessageTemplate).add(MessageTemplate(name="terms", body="Dear {{ customer.name }}"))
    people = []
    with first.transaction():
        for number in range(130):
            people.append(first.customers.add(Customer(name=f"P{number}"), email=f"p{number}@example.org").id)
    mailing = Mailing(template="terms", key="k", purpose="service")
    done = together(lambda: send_to_many(first, mailing, people), lambda: send_to_many(second, mailing, people))
    assert 130 == sum(each.queued for each in done)
    assert 260 == sum(each.queued + each.before + sum(each.left_out.values()) for each in done)
    messages = list(first.records(OutboxMessage).find(limit=None))
    assert (130, 130) == (len(messages), len({each.customer_id for each in messages}))
    assert (130, 1) == (first.interactions.count(), first.records(Campaign).count())
