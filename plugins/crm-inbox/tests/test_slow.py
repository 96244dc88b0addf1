"""An account that hangs keeps no other waiting, neither in what comes in nor in what leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest

from crm_channel_folder.channel import FolderChannel, FolderSettings
from crm_core import CRM, Customer, hookimpl
from crm_core.extend import ChannelType, OutgoingMessage, Receipt, Received
from crm_inbox.outbox import send
from crm_inbox.records import OutboxMessage

from .conftest import Arrive


class Hanging(FolderChannel):
    """A service that takes connections and says nothing."""

    over = Event()

    def poll(self, cursor: str) -> Received:
        self.over.wait(60)
        return Received(cursor=cursor)

    def send(self, message: OutgoingMessage) -> Receipt:
        self.over.wait(60)
        return Receipt()


class HangingPlugin:
    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        return [
            ChannelType(
                name="hanging",
                label="Hanging",
                address_kind="phone",
                settings=FolderSettings,
                open=Hanging,
                capabilities=frozenset({"send", "poll"}),
            )
        ]


@pytest.fixture
def crm(place: Path) -> Iterator[CRM]:
    settings = place / "crm.toml"
    account = '[channels.a-hanging]\ntype = "hanging"\nfolder = "desk"\nkey = {env = "DESK_KEY"}\n'
    settings.write_text(settings.read_text("utf-8").replace("[channels.desk]", f"{account}[channels.desk]"), "utf-8")
    Hanging.over.clear()
    with CRM.open(place, plugins=[HangingPlugin()]) as opened:
        yield opened
        Hanging.over.set()
        opened.jobs.staying.end()


def test_one_that_hangs_delays_neither_polls_nor_messages_of_others(crm: CRM, arrive: Arrive) -> None:
    sara = crm.customers.add(Customer(name="Sara"), email="sara@example.org", phone="+4915112345678")
    send(crm, "Hello", customer=sara.id, account="a-hanging")
    wanted = send(crm, "Hello", customer=sara.id, account="desk")
    arrive("1")
    until(crm, lambda: crm.records(OutboxMessage).get(wanted.id).status == "sent" and came(crm) == 1)
    arrive("2")
    until(crm, lambda: came(crm) == 2)
    hanging = [each for each in crm.jobs.standing() if each.part == "a-hanging"]
    assert [True, True] == [each.running for each in hanging]


def came(crm: CRM) -> int:
    return crm.interactions.count("direction = 'in'")


def until(crm: CRM, enough: Callable[[], bool]) -> None:
    """Run as a worker does."""
    ends = time.monotonic() + 30
    while not enough():
        assert time.monotonic() < ends, "the others wait for the one that hangs"
        crm.jobs.run(lasting=True)
        time.sleep(0.05)
