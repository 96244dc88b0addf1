"""The webhook, and what becomes of calls in a CRM with an inbox and contacts."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_channel_phone.calls import Call, message_of
from crm_core import CRM, ContactPoint, Customer
from crm_core.errors import CredentialsWrong, RequestRefused
from crm_core.extend import Address, IncomingMessage, Received, WebhookRequest
from crm_core.testing import ChannelContract, ChannelFault, OpenChannel
from crm_core.values import FixedClock
from crm_inbox import InboxMessage, receive

KEY = b"canary-5f2d9c1b7e-and-more"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
CALL = {"id": "c-1", "direction": "in", "number": "09123456789", "started_at": "2026-11-22T09:00:00+03:30"}
Account = Callable[[], OpenChannel]


def signed(body: bytes, at: datetime, key: bytes = KEY, name: str = "msg_1") -> WebhookRequest:
    stamp = str(int(at.timestamp()))
    signature = base64.b64encode(hmac.digest(key, f"{name}.{stamp}.".encode() + body, "sha256")).decode()
    headers = {"webhook-id": name, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}
    return WebhookRequest(headers=headers, body=body, received_at=at)


def told(at: datetime = NOW, **changes: Any) -> WebhookRequest:
    return signed(json.dumps({**CALL, **changes}).encode(), at)


class TestTheContract(ChannelContract):
    channel = "phone"
    secret = SECRET

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"secret": secret, "former_secret": secret}

    def samples(self, count: int) -> list[IncomingMessage]:
        numbers = [f"+98912{number:07}" for number in range(count)]
        return [
            attrs.evolve(each, sender=Address(kind="phone", value=number), thread=number, subject="")
            for each, number in zip(super().samples(count), numbers, strict=True)
        ]

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        return told(at, id=message.external_id, number=message.sender.value, note=message.text)

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        return []

    def test_a_call_says_what_the_document_says(self, account: Account) -> None:
        content = {"duration": 75, "name": "سارا", "extension": "101", "note": "wants blue", "direction": "out"}
        (found,) = account().parse(told(**content)).messages
        assert ("call", "out", 75, "wants blue\nby 101", datetime(2026, 11, 22, 5, 30, tzinfo=UTC)) == (
            found.kind,
            found.direction,
            found.duration,
            found.text,
            found.at,
        )
        assert Address(kind="phone", value="09123456789", name="سارا") == found.sender
        durations = [
            {},
            {"duration": None},
            {"duration": 9, "answered": False},
            {"duration": "۹"},
            {"duration": "0:09"},
        ]
        parsed = [account().parse(told(**each)).messages[0].duration for each in durations]
        assert [None, None, None, 9, 9] == parsed

    def test_what_rings_is_answered_and_not_kept(self, account: Account) -> None:
        assert () == tuple(account().parse(told(state="ringing")).messages)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"id": ""}, {"id": None}, {"id": ["a"]}, {"direction": "up"}, {"started_at": "2026-11-22T09:00:00"},
            {"started_at": "soon"}, {"duration": -1}, {"duration": "long"}, {"duration": True}, {"number": {"a": 1}},
            {"duration": 1e30},
        ],
    )  # fmt: skip
    def test_a_document_that_is_no_call_is_refused(self, account: Account, wrong: dict[str, Any]) -> None:
        with pytest.raises(RequestRefused):
            account().parse(told(**wrong))

    def test_what_is_replayed_or_signed_by_another_is_refused(self, account: Account) -> None:
        request = told()
        late = [attrs.evolve(request, received_at=NOW + timedelta(minutes=sign * 6)) for sign in (-1, 1)]
        moved = attrs.evolve(request, headers={**request.headers, "webhook-id": "msg_2"})
        for each in [*late, moved, signed(request.body, NOW, b"another"), signed(request.body, NOW, b"")]:
            with pytest.raises(RequestRefused):
                account().parse(each)


@pytest.mark.parametrize("secret", ["whsec_c2hvcnQ=", "no base64!", "whsec_"])
def test_a_secret_that_can_be_guessed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("PHONE_SECRET", secret)
    with opened(tmp_path) as crm, crm.channels.open("calls") as channel, pytest.raises(CredentialsWrong):
        channel.check()


# In a CRM


def opened(place: Path) -> CRM:
    text = '[crm]\ncurrency = "EUR"\n[storage]\nurl = "memory:"\n[policies.contacts]\ncountry = "IR"\n'
    text += '[channels.calls]\ntype = "phone"\nsecret = {env = "PHONE_SECRET"}\n'
    (place / "crm.toml").write_text(text, "utf-8")
    return CRM.open(place, clock=FixedClock(NOW))


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[CRM]:
    with opened(tmp_path) as found:
        yield found


def call(key: str, number: str, **more: Any) -> IncomingMessage:
    return message_of(Call(**{"id": key, "direction": "in", "number": number, "at": NOW, **more}))


@pytest.mark.parametrize("number", ["09123456789", "+989123456789", "00989123456789", "9123456789"])
def test_a_number_is_its_customers_however_it_is_shown(crm: CRM, number: str) -> None:
    sara = crm.customers.add(Customer(name="سارا"))
    crm.contact_points.add(ContactPoint(customer_id=sara.id, kind="phone", value="۰۹۱۲ ۳۴۵ ۶۷۸۹"))
    receive(crm, "calls", Received(messages=[call("1", number, duration=60)]))
    (stored,) = crm.interactions.find()
    assert (sara.id, "call", 60, "phone", False) == (
        stored.customer_id,
        stored.kind,
        stored.duration,
        stored.channel,
        stored.needs_answer,
    )


def test_withheld_numbers_are_nobody_and_not_the_same_nobody(crm: CRM) -> None:
    receive(crm, "calls", Received(messages=[call(str(number), "") for number in range(3)]))
    stored = list(crm.interactions.find())
    assert [True] * 3 == [each.needs_answer for each in stored]
    assert 0 == crm.customers.count()
    assert 3 == len({each.thread for each in stored})
    assert {"unknown"} == {each.sender for each in crm.records(InboxMessage).find(limit=None)}


def test_an_unknown_caller_is_one_lead_and_a_call_back_settles_what_was_missed(crm: CRM) -> None:
    calls = [call("1", "+982188776655", name="شرکت"), call("1", "+982188776655"), call("2", "+982188776655")]
    assert (2, 1) == attrs.astuple(receive(crm, "calls", Received(messages=calls)))[:3:2]
    assert 2 == crm.interactions.count("needs_answer = true")
    back = call("3", "+982188776655", direction="out", duration=30)
    receive(crm, "calls", Received(messages=[back]))
    assert 0 == crm.interactions.count("needs_answer = true")
    assert 1 == crm.customers.count()
