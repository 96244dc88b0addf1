"""Receipts that come before it is noted what the service calls the message that they are of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_channel_folder.channel import FolderChannel
from crm_core import CRM, Consent, Customer
from crm_core.errors import ConflictError
from crm_core.extend import JobRun, OutgoingMessage, Receipt, Received, StatusReceipt
from crm_core.values import FixedClock
from crm_inbox import EarlyReceipt, OutboxMessage, receive, send, status
from crm_inbox.early import MOST, WAITS, settle, settle_account, waiting_accounts
from crm_inbox.outbox_commands import _standing

from .conftest import NOW
from .test_outbox import only, run

pytestmark = pytest.mark.database("sqlite")
Sent = Callable[[OutgoingMessage], object]


@pytest.fixture
def sara(crm: CRM) -> Customer:
    return crm.customers.add(Customer(name="سارا"), email="sara@example.org")


def told(crm: CRM, *receipts: tuple[str, str], reason: str = "") -> int:
    """Take receipts in, each as (the service's name, status); returns how many said something new."""
    made = [StatusReceipt(message_id=name, status=status, at=NOW, reason=reason) for name, status in receipts]  # type: ignore[arg-type]
    return receive(crm, "desk", Received(receipts=made)).receipts


@pytest.fixture
def while_sending(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sent], None]:
    """Has something happen while the service has a message and we do not know yet what it calls it."""

    def let(happen: Sent) -> None:
        def send_and_more(self: FolderChannel, message: OutgoingMessage) -> Receipt:
            happen(message)
            return Receipt(provider_id=f"theirs {message.text}")

        monkeypatch.setattr(FolderChannel, "send", send_and_more)

    return let


def test_a_receipt_that_comes_before_the_sending_is_noted_counts_when_it_is(
    crm: CRM, sara: Customer, while_sending: Callable[[Sent], None]
) -> None:
    seen: list[Any] = []

    def hear(message: OutgoingMessage) -> None:
        seen.append(told(crm, (f"theirs {message.text}", "delivered"), (f"theirs {message.text}", "read")))
        seen.append(_standing(crm, "desk")["receipts_waiting"])

    while_sending(hear)
    send(crm, "one", customer=sara.id)
    assert "1 sent" == run(crm)
    assert [0, 2] == seen
    message = only(crm)
    assert ("read", NOW, NOW, "theirs one") == (
        message.status,
        message.delivered_at,
        message.read_at,
        message.provider_id,
    )
    assert 0 == crm.records(EarlyReceipt).count()


def test_one_that_says_that_it_failed_keeps_its_reason(
    crm: CRM, sara: Customer, while_sending: Callable[[Sent], None]
) -> None:
    while_sending(lambda message: told(crm, ("theirs one", "failed"), reason="no such number"))
    send(crm, "one", customer=sara.id)
    run(crm)
    assert ("failed", "the service says: no such number") == (only(crm).status, only(crm).reason)


def test_what_is_committed_after_the_sender_looked_is_found_by_a_job(
    crm: CRM, sara: Customer, while_sending: Callable[[Sent], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    while_sending(lambda message: told(crm, ("theirs one", "delivered")))
    send(crm, "one", customer=sara.id)
    with monkeypatch.context() as late:
        late.setattr("crm_inbox.sending.settle", lambda crm, account: 0)
        run(crm)
    assert ("sent", {"desk": 5.0}) == (only(crm).status, waiting_accounts(crm))
    assert "1 receipts noted" == settle_account(JobRun(crm=crm, part="desk", stopping=lambda: False)).told
    assert ("delivered", {}) == (only(crm).status, waiting_accounts(crm))


def test_receipts_of_messages_that_others_sent_wait_while_one_of_ours_leaves_and_not_for_long(
    crm: CRM, sara: Customer, while_sending: Callable[[Sent], None]
) -> None:
    assert (0, 0) == (told(crm, ("a stranger's", "read")), crm.records(EarlyReceipt).count())
    while_sending(lambda message: told(crm, *((f"stranger {n}", "read") for n in range(MOST + 5))))
    send(crm, "one", customer=sara.id)
    run(crm)
    assert MOST == crm.records(EarlyReceipt).count()
    crm.clock = FixedClock(crm.clock.now() + WAITS)
    assert (0, MOST) == (settle(crm, "desk"), crm.records(EarlyReceipt).count())
    crm.clock = FixedClock(crm.clock.now() + timedelta(seconds=1))
    assert (0, 0) == (settle(crm, "desk"), crm.records(EarlyReceipt).count())


def test_the_receipts_of_an_erased_person_that_wait_go_too(
    crm: CRM, place: Path, sara: Customer, while_sending: Callable[[Sent], None]
) -> None:
    while_sending(lambda message: told(crm, ("x", "failed"), reason="<sara@example.org> is unknown"))
    send(crm, "one", customer=sara.id)
    run(crm)
    crm.privacy.erase(sara.id)
    (kept,) = crm.records(EarlyReceipt).find()
    assert "sara@" not in f"{kept.name} {kept.reason}"


def test_a_message_that_is_written_while_its_receipt_is_noted_gets_both(
    crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(crm, "one", customer=sara.id)
    run(crm)
    real, times = status.noted, iter(range(10))

    def note(crm_: CRM, message: OutboxMessage, receipt: StatusReceipt) -> OutboxMessage | None:
        if next(times) == 0:
            raise ConflictError("outbox_messages: it changed since it was read")
        return real(crm_, message, receipt)

    monkeypatch.setattr("crm_inbox.status.noted", note)
    assert (1, "read") == (told(crm, (str(only(crm).provider_id), "read")), only(crm).status)


def test_many_receipts_are_looked_up_at_once(crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        send(crm, f"text {number}", customer=sara.id)
    run(crm)
    names = [str(each.provider_id) for each in crm.records(OutboxMessage).find()]
    looks: list[str] = []
    real = crm.storage.find

    def find(table: str, *given: Any, **named: Any) -> Any:
        looks.append(table)
        return real(table, *given, **named)

    monkeypatch.setattr(crm.storage, "find", find)
    counts = []
    for some in (names[:1], names[1:]):
        looks.clear()
        assert len(some) == told(crm, *((name, "delivered") for name in some))
        counts.append(looks.count("outbox_messages"))
    assert counts[0] == counts[1]


def test_what_an_early_receipt_says_of_consent_is_kept_with_it(
    crm: CRM, sara: Customer, while_sending: Callable[[Sent], None]
) -> None:
    def hear(message: OutgoingMessage) -> None:
        told = StatusReceipt(message_id=f"theirs {message.text}", status="failed", reason="no", unsubscribed=True)
        receive(crm, "desk", Received(receipts=[told]))
        assert 0 == crm.records(Consent).count()

    while_sending(hear)
    send(crm, "one", customer=sara.id)
    run(crm)
    assert ["withdrawn"] == [each.status for each in crm.records(Consent).find()]
