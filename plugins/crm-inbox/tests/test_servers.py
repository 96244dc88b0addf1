"""Intake and outbox on every database, with several at work at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from crm_channel_folder.channel import FolderChannel
from crm_core import CRM, Customer
from crm_core.extend import OutgoingMessage, Receipt, Received
from crm_inbox import (
    Campaign,
    InboxMessage,
    Mailing,
    MessageTemplate,
    OutboxMessage,
    receive,
    send,
    send_to_many,
)
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
