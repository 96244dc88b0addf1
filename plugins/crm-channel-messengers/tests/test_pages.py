"""Viber, Messenger, Instagram and apprise before the kit of channels, and what each service has of its own."""

from __future__ import annotations

import builtins
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core import CRM
from crm_core.errors import ChannelError, CredentialsWrong, MessageRejected, RequestRefused, SettingsError, TryLater
from crm_core.extend import Address, IncomingMessage, OutgoingMessage, Receipt, Received, WebhookRequest
from crm_core.testing import OpenChannel
from crm_inbox import receive

from .fakes import Fake, FakeNotified, FakePages, FakeViber
from .test_messengers import OfAFake

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
MILLISECONDS = int(NOW.timestamp() * 1000)
Account = Callable[[], OpenChannel]


class TestViber(OfAFake):
    channel = "viber"
    make = FakeViber
    fake: FakeViber
    faulty = (
        (TryLater, "send", (503, {"status": 1, "status_message": "down"}, {})),
        (TryLater, "send", (200, {"status": 12, "status_message": "tooManyRequests"}, {})),
        (TryLater, "send", (429, {"message": "slow down"}, {"retry-after": "9"})),
        (MessageRejected, "send", (200, {"status": 6, "status_message": "notSubscribed"}, {})),
        (MessageRejected, "send", (200, {"status": 11, "status_message": "receiverNoSuitableDevice"}, {})),
        (CredentialsWrong, "send", (200, {"status": 24, "status_message": "noBalance"}, {})),
        (CredentialsWrong, "check", (200, {"status": 2, "status_message": "invalidAuthToken"}, {})),
    )

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"token": secret, "sender": "Shop", "welcome": "سلام", "api": self.fake.url}

    def sender(self, number: int) -> Address:
        return Address(kind="viber", value=f"01234567890{number}A=", name="سارا")

    def signed(self, at: datetime = NOW, **content: Any) -> WebhookRequest:
        body = json.dumps({"timestamp": MILLISECONDS, "message_token": 4_912_661_846_655_238_145, **content}).encode()
        signature = hmac.digest(self.secret.encode(), body, "sha256").hex()
        return WebhookRequest(headers={"x-viber-content-signature": signature}, body=body, received_at=at)

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        sender = {"id": message.sender.value, "name": message.sender.name}
        content = {"type": "text", "text": message.text}
        return self.signed(at, event="message", sender=sender, message=content, message_token=message.external_id)

    def arrived(self, place: Path) -> list[str]:
        return self.fake.ids

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        return channel.parse(self.signed(event="delivered", message_token=int(receipt.provider_id), user_id="x"))

    def test_receipts_say_seen_and_why_one_failed(self, account: Account) -> None:
        failed = self.signed(event="failed", user_id="x", desc="failure description")
        told = [account().parse(each).receipts[0] for each in (self.signed(event="seen"), failed)]
        assert [("read", ""), ("failed", "failure description")] == [(each.status, each.reason) for each in told]
        assert ["4912661846655238145", NOW] == [told[0].message_id, told[0].at]

    def test_who_opens_the_conversation_is_welcomed_and_has_written_nothing(self, account: Account) -> None:
        found = account().parse(self.signed(event="conversation_started", type="open", user={"id": "x"}))
        assert ("سلام", "Shop") == (json.loads(found.reply)["text"], json.loads(found.reply)["sender"]["name"])
        assert () == tuple(found.messages)

    @pytest.mark.parametrize("event", ["webhook", "subscribed", "unsubscribed", "unheard_of"])
    def test_what_is_no_message_is_answered_and_not_kept(self, account: Account, event: str) -> None:
        assert Received() == account().parse(self.signed(event=event))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"sender": {}}, {"sender": {"id": "a\nb"}}, {"sender": "x"}, {"message_token": None},
            {"message_token": True}, {"event": None},
        ],
    )  # fmt: skip
    def test_an_event_without_sender_or_token_is_refused(self, account: Account, wrong: dict[str, Any]) -> None:
        whole = {"event": "message", "sender": {"id": "x"}, "message": {"type": "text", "text": "Hi"}, **wrong}
        with pytest.raises(RequestRefused):
            account().parse(self.signed(**whole))

    def test_a_file_is_named_and_not_fetched(self, account: Account) -> None:
        content = {"type": "picture", "text": "See", "media": f"{self.fake.url}/picture.jpg"}
        found = account().parse(self.signed(event="message", sender={"id": "x"}, message=content))
        assert ["See\n[picture]"] == [each.text for each in found.messages]
        assert 0 == self.fake.connections

    def test_a_name_that_is_too_long_is_no_setting(self, tmp_path: Path) -> None:
        text = '[storage]\nurl = "memory:"\n[channels.a]\ntype = "viber"\ntoken = {env = "X"}\n'
        (tmp_path / "crm.toml").write_text(f'{text}sender = "{"x" * 29}"\n', "utf-8")
        with CRM.open(tmp_path) as crm, pytest.raises(SettingsError, match="28 characters"):
            crm.channels.open("a")

    def test_the_ids_of_people_are_contact_points(self, tmp_path: Path) -> None:
        """They are no phone numbers, as those of contact points of this kind often are."""
        (tmp_path / "crm.toml").write_text('[storage]\nurl = "memory:"\n[policies.contacts]\ncountry = "IR"\n', "utf-8")
        with CRM.open(tmp_path) as crm:
            found = [_reached(crm, value) for value in ("012345ABCDEF+/8A==", "09123456789A=", "+98 912 345 6789")]
            assert found == [crm.customers.reached_at("viber", each)[0] for each in _SPELT]
            assert 3 == len(set(found))


_SPELT = ("012345ABCDEF+/8A==", "09123456789A=", "09123456789")


def _reached(crm: CRM, value: str) -> int:
    from crm_core import ContactPoint, Customer

    found = crm.customers.add(Customer(name=value))
    crm.contact_points.add(ContactPoint(customer_id=found.id, kind="viber", value=value))
    return found.id


class TestMessenger(OfAFake):
    channel = "messenger"
    event = "page"
    make = FakePages
    fake: FakePages
    faulty = (
        (TryLater, "send", (500, {"error": {"message": "Temporary send message failure", "code": 1200}}, {})),
        (TryLater, "send", (400, {"error": {"message": "Calls to this API have exceeded", "code": 613}}, {})),
        (TryLater, "send", (429, {"error": {"message": "Too many", "code": 4}}, {"retry-after": "30"})),
        (MessageRejected, "send", (400, {"error": {"message": "late", "code": 10, "error_subcode": 2018278}}, {})),
        (MessageRejected, "send", (400, {"error": {"message": "This person isn't available", "code": 551}}, {})),
        (CredentialsWrong, "send", (403, {"error": {"message": "No permission", "code": 10}}, {})),
        (CredentialsWrong, "check", (400, {"error": {"message": "Session has expired", "code": 190}}, {})),
    )

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        secrets = dict.fromkeys(("token", "app_secret", "verify_token"), secret)
        return {"page_id": "77", "api": self.fake.url, **secrets}

    def sender(self, number: int) -> Address:
        return Address(kind=self.channel, value=f"{6_000_000_000 + number}")

    def signed(self, *events: Mapping[str, Any], at: datetime = NOW, page: str = "77") -> WebhookRequest:
        entry = {
            "id": page,
            "time": MILLISECONDS,
            "messaging": [{"timestamp": MILLISECONDS, **each} for each in events],
        }
        body = json.dumps({"object": self.event, "entry": [entry]}).encode()
        signature = hmac.digest(self.secret.encode(), body, "sha256").hex()
        return WebhookRequest(headers={"x-hub-signature-256": f"sha256={signature}"}, body=body, received_at=at)

    def said(self, **message: Any) -> dict[str, Any]:
        return {"sender": {"id": "601"}, "recipient": {"id": "77"}, "message": {"mid": "m_in", "text": "Hi", **message}}

    def echo(self, **message: Any) -> dict[str, Any]:
        return {**self.said(is_echo=True, **message), "sender": {"id": "77"}, "recipient": {"id": "601"}}

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        event = self.said(mid=message.external_id, text=message.text)
        return self.signed({**event, "sender": {"id": message.sender.value}}, at=at)

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        delivery = {"mids": [receipt.provider_id], "watermark": MILLISECONDS}
        return channel.parse(self.signed({"sender": {"id": "601"}, "recipient": {"id": "77"}, "delivery": delivery}))

    def test_the_webhook_is_verified_by_its_token(self, account: Account) -> None:
        query = {"hub.mode": "subscribe", "hub.verify_token": self.secret, "hub.challenge": "1158201444"}
        asked = WebhookRequest(method="GET", query=query, received_at=NOW)
        assert "1158201444" == account().parse(asked).reply
        for wrong in ({**query, "hub.verify_token": "x"}, {**query, "hub.mode": "x"}, {}):
            with pytest.raises(RequestRefused):
                account().parse(attrs.evolve(asked, query=wrong))

    def test_an_echo_of_ours_is_no_message(self, account: Account) -> None:
        message = self.outgoing(1)
        account().send(message)
        sent = self.fake.asked[0]["message"]
        found = account().parse(self.signed(self.echo(mid="m_1", **sent)))
        assert () == tuple(found.messages)
        told = [(each.message_id, each.status) for each in found.receipts]
        assert ([(message.message_id, "sent")] if self.channel == "messenger" else []) == told

    def test_what_a_colleague_wrote_elsewhere_went_out(self, account: Account) -> None:
        found = account().parse(self.signed(self.echo(mid="m_9", text="It left"))).messages
        went = [(each.external_id, each.direction, each.sender.value, each.thread) for each in found]
        assert ([("m_9", "out", "601", "601")] if self.channel == "messenger" else []) == went

    def test_what_is_late_says_so_in_words(self, account: Account) -> None:
        late = attrs.evolve(self.outgoing(1), recipient=Address(kind=self.channel, value="late"))
        with pytest.raises(MessageRejected, match="24 hours"):
            account().send(late)

    def test_the_service_says_how_long_to_wait(self, tmp_path: Path, account: Account) -> None:
        self.faults(tmp_path)[2].make()
        with pytest.raises(TryLater) as caught:
            account().send(self.outgoing(1))
        assert 30 == caught.value.delay

    def test_what_comes_to_another_page_of_the_app_is_not_ours(self, account: Account) -> None:
        assert Received() == attrs.evolve(
            account().parse(self.signed(self.said(), page="78")), messages=(), receipts=()
        )
        assert [] == list(account().parse(self.signed(self.said(), page="78")).messages)

    def test_files_are_named_and_not_fetched_and_a_reply_names_what_it_answers(self, account: Account) -> None:
        file = {"type": "image", "payload": {"url": f"{self.fake.url}/x.jpg"}}
        (found,) = account().parse(self.signed(self.said(attachments=[file], reply_to={"mid": "m_1"}))).messages
        assert ("Hi\n[image]", ("m_1",), NOW) == (found.text, found.replies_to, found.at)
        assert 0 == self.fake.connections

    def test_a_button_is_a_message_and_what_was_taken_back_is_none(self, account: Account) -> None:
        pressed = {"sender": {"id": "601"}, "recipient": {"id": "77"}, "postback": {"mid": "m_2", "title": "Buy"}}
        found = account().parse(self.signed(pressed, self.said(is_deleted=True), {"reaction": {}})).messages
        assert [("m_2", "Buy")] == [(each.external_id, each.text) for each in found]

    def test_a_text_that_is_too_long_is_refused(self, account: Account) -> None:
        for text, fits in (("x" * 1_000, True), ("x" * 2_001, False), ("س" * 501, self.channel == "messenger")):
            message = attrs.evolve(self.outgoing(1), text=text)
            if fits:
                account().send(message)
            else:
                with pytest.raises(MessageRejected, match="takes"):
                    account().send(message)

    def test_garbage_that_is_signed_raises_nothing_but_refusals(self, account: Account) -> None:
        odd: list[Any] = [None, 1, "x", [], {}, {"id": 1}, [[]], {"mid": ["a"]}, {"mids": "m", "mid": 1}]
        for each in odd:
            for name in ("message", "delivery", "read", "sender", "recipient", "postback", "timestamp"):
                account().parse(self.signed({**self.said(), name: each}))


class TestInstagram(TestMessenger):
    """Whether Instagram tells that a message was delivered is not sure: the receipt of the kit is Messenger's."""

    channel = "instagram"
    event = "instagram"

    def test_that_it_was_read_is_told_of_the_message(self, account: Account) -> None:
        (told,) = account().parse(self.signed({**self.said(), "message": None, "read": {"mid": "m_1"}})).receipts
        assert ("m_1", "read") == (told.message_id, told.status)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise's own imports
class TestApprise(OfAFake):
    channel = "apprise"
    make = FakeNotified
    fake: FakeNotified
    faulty = ((TryLater, "send", (500, {}, {})),)

    @pytest.fixture(autouse=True)
    def _served(self) -> Any:
        self.fake = FakeNotified("")
        self.secret = f"{self.fake.url.replace('http', 'json')}/canary-5f2d9c1b7e/{{to}}"
        yield
        self.fake.close()

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"url": secret}

    def sender(self, number: int) -> Address:
        return Address(kind="phone", value=f"+4917{number:08}")

    def test_the_recipient_is_no_other_part_of_the_address(self, account: Account) -> None:
        odd = "../../+49 1?format=x#@127.0.0.1"
        account().send(attrs.evolve(self.outgoing(1), recipient=Address(kind="phone", value=odd)))
        (path,) = self.fake.paths
        assert path.startswith("/canary-5f2d9c1b7e/")

    @pytest.mark.parametrize("url", ["json://127.0.0.1/x", "nosuch://x/{to}", "{to}", "json://{to"])
    def test_an_address_that_says_nobody_or_no_service_is_wrong(
        self, account: Account, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("CRM_TESTED_SECRET", url)
        channel = account()
        for call in (channel.check, lambda: channel.send(self.outgoing(1))):
            with pytest.raises(CredentialsWrong) as caught:
                call()
            assert url not in f"{caught.value!r}"

    def test_no_part_of_the_address_is_shown(
        self, account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        monkeypatch.setenv("CRM_TESTED_SECRET", "json://user:canary-5f2d9c1b7e@127.0.0.1:9/{to}")
        with pytest.raises(TryLater) as caught:
            account().send(self.outgoing(1))
        assert "canary" not in f"{caught.value!r} {caught.value.hint} {account().check()} {caplog.text}"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_of_the_service_is_not_followed(self, account: Account, status: int) -> None:
        inside = FakeNotified("")
        try:
            self.fake.fault = lambda: (status, {}, {"location": f"{inside.url}/private"})
            with pytest.raises(TryLater):
                account().send(self.outgoing(1))
            assert (1, 0) == (self.fake.connections, inside.connections)
        finally:
            inside.close()

    @pytest.mark.parametrize("url", ["json://{to}", "json://{to}/x", "json://user:pass@{to}:8080/x", "json://x:{to}/x"])
    def test_no_customer_says_which_server_is_called(
        self, account: Account, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        monkeypatch.setenv("CRM_TESTED_SECRET", url)
        inside = attrs.evolve(self.outgoing(1), recipient=Address(kind="phone", value="169.254.169.254"))
        for call in (account().check, lambda: account().send(inside)):
            with pytest.raises(CredentialsWrong):
                call()

    def test_who_has_no_server_of_their_own_may_have_the_recipient_anywhere(
        self, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CRM_TESTED_SECRET", "clicksend://user:key@{to}")
        assert "by apprise" in account().check()

    def test_without_the_package_it_says_what_to_install(
        self, account: Account, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = builtins.__import__

        def without(name: str, *more: Any, **named: Any) -> Any:
            if name == "apprise":
                raise ImportError(name)
            return real(name, *more, **named)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(ChannelError, match="not installed") as caught:
            account().check()
        assert 'pip install "crm-channel-messengers[apprise]"' == caught.value.hint


def test_a_replayed_request_is_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "canary-5f2d9c1b7e")
    secrets = "".join(f'{name} = {{env = "TOKEN"}}\n' for name in ("token", "app_secret", "verify_token"))
    text = f'[storage]\nurl = "memory:"\n[channels.page]\ntype = "messenger"\npage_id = "77"\n{secrets}'
    viber = '[channels.bot]\ntype = "viber"\nsender = "Shop"\ntoken = {env = "TOKEN"}\n'
    (tmp_path / "crm.toml").write_text(text + viber, "utf-8")
    page, bot = TestMessenger(), TestViber()
    page.secret = bot.secret = "canary-5f2d9c1b7e"
    whole = {
        "event": "message",
        "sender": {"id": "01234567890A=", "name": "سارا"},
        "message": {"type": "text", "text": "Hi"},
    }
    requests = {"page": page.signed(page.said()), "bot": bot.signed(**whole)}
    with CRM.open(tmp_path) as crm:
        for account, request in [*requests.items()] * 3:
            with crm.channels.open(account) as channel:
                receive(crm, account, channel.parse(request))
        stored = [(each.channel, each.body) for each in crm.interactions.find(sort="channel")]
        assert [("messenger", "Hi"), ("viber", "Hi")] == stored
        assert 2 == crm.customers.count()


def test_nothing_in_a_message_begins_a_header_of_its_own() -> None:
    """A message id goes into no header of these services; one with a line break is refused before it could."""
    whom = Address(kind="viber", value="x")
    for text in ("a\r\nX-Evil: 1", "a\nb", "a\x00b", "a\u2028b"):
        with pytest.raises(Exception, match="one line"):
            OutgoingMessage(message_id=text, recipient=whom, text="x")
        with pytest.raises(Exception, match="one line"):
            Address(kind="viber", value=text)


def test_a_token_with_a_line_break_reaches_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake: Fake = FakeViber("x")
    monkeypatch.setenv("VIBER", "x\r\nX-Evil: 1")
    text = '[storage]\nurl = "memory:"\n[channels.a]\ntype = "viber"\ntoken = {env = "VIBER"}\nsender = "Shop"\n'
    (tmp_path / "crm.toml").write_text(f'{text}api = "{fake.url}"\n', "utf-8")
    with CRM.open(tmp_path) as crm, crm.channels.open("a") as channel, pytest.raises(ChannelError):
        channel.check()
    assert 0 == fake.connections
    fake.close()
