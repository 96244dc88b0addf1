"""Two houses of our own that answer everything by themselves, by real SMTP: a letter between them ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from crm_channel_email.mime import Bounds, mail_of
from crm_core import CRM, Customer, hookimpl
from crm_core.errors import MessageRejected
from crm_core.events import InteractionsChanged
from crm_core.extend import JobRun, Received
from crm_inbox import OutboxMessage, receive
from crm_inbox.sending import send_account
from tests.mail import PASSWORD, Post, post

pytestmark = pytest.mark.database("sqlite")


class AnswersAll:
    """Says that nobody is there, to whatever came in."""

    @hookimpl
    def on_interactions_changed(self, event: InteractionsChanged) -> None:
        for change in event.changes:
            if change.action == "created" and change.record is not None and change.record.direction == "in":
                with suppress(MessageRejected):
                    event.crm.outbox.send("Nobody is here today.", answers=change.record, automatic=True)


class House:
    """A workspace with one account, whose mails leave by an SMTP server of its own."""

    def __init__(self, folder: Path, name: str, server: Post, stack: ExitStack) -> None:
        self.address = f"desk@{name}.example.org"
        self.server = server
        folder.mkdir()
        settings = '[crm]\ncurrency = "EUR"\n[storage]\nurl = "sqlite:///crm.db"\n[channels.desk]\ntype = "email"\n'
        settings += f'address = "{self.address}"\npassword = {{env = "MAIL_PASSWORD"}}\n'
        settings += f'smtp_host = "127.0.0.1"\nsmtp_port = {server.port}\nsmtp_security = "plain"\n'
        (folder / "crm.toml").write_text(settings, "utf-8")
        self.crm = stack.enter_context(CRM.open(folder, plugins=[AnswersAll()]))
        self.taken = 0

    def sent(self) -> list[bytes]:
        """Send what waits; returns what left since the last time."""
        send_account(JobRun(crm=self.crm, part="desk", stopping=lambda: False))
        fresh, self.taken = self.server.taken[self.taken :], len(self.server.taken)
        return [bytes(each.content or b"") for each in fresh]

    def take_in(self, raw: bytes) -> None:
        """Receive a mail, as a poll does, and tell the plugins."""
        mail = mail_of(raw, Bounds(own=self.address))
        receive(self.crm, "desk", Received(messages=[mail.message], receipts=list(mail.receipts)))
        self.crm.ledger.deliver(5.0)

    def automatic(self) -> int:
        return self.crm.records(OutboxMessage).count("automatic = true")


@pytest.fixture
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[House]]:
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    with ExitStack() as stack:
        yield [House(tmp_path / name, name, stack.enter_context(post()), stack) for name in ("north", "south")]


@pytest.mark.parametrize(
    ("lost", "replies"),
    [
        pytest.param(b"", (0, 1), id="as it is"),
        pytest.param(
            rb"(?im)^(?:auto-submitted|precedence|x-auto[^:]*):.*\r\n", (1, 1), id="a gateway takes out what says so"
        ),
    ],
)
def test_two_of_our_own_houses_exchange_at_most_one_automatic_reply_each(
    houses: list[House], lost: bytes, replies: tuple[int, int]
) -> None:
    north, south = houses
    for house in houses:
        house.crm.ledger.deliver(5.0)
    person = north.crm.customers.add(Customer(name="South"), email=south.address)
    north.crm.outbox.send("Is anybody there?", customer=person.id, subject="A question")
    letters = north.sent()
    assert 1 == len(letters)
    for turn in range(12):
        here = south if turn % 2 == 0 else north
        for raw in letters:
            here.take_in(re.sub(lost, b"", raw) if lost else raw)
        letters = here.sent()
        if not letters:
            break
    assert [] == letters, "they still write to each other"
    assert replies == (north.automatic(), south.automatic())
