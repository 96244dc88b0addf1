"""Each messenger before the kit of channels, and what its service has of its own."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time
from typing import Any, ClassVar
from urllib.parse import urlencode

import attrs
import pytest

from crm_core import CRM
from crm_core.errors import CredentialsWrong, MessageRejected, RequestRefused, TryLater
from crm_core.extend import Address, IncomingMessage, OutgoingMessage, Receipt, Received, WebhookRequest
from crm_core.testing import ChannelContract, ChannelFault, OpenChannel, PluginContract

from .fakes import Answer, Fake, FakeKavenegar, FakeTelegram, FakeTwilio, FakeWhatsApp

URL = "https://crm.example.org/hooks/sms"
NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
_ID = re.compile(r"<m\d+@example\.org>")
Account = Callable[[], OpenChannel]


class TestThePlugin(PluginContract):
    package = "crm_channel_messengers"


class OfAFake(ChannelContract):
    """A channel whose other side is a fake, with senders as its service has them."""

    fake: Fake
    make: ClassVar[Callable[[str], Fake]]
    faulty: ClassVar[Sequence[tuple[type[Exception], str, Answer]]] = ()

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        self.fake = type(self).make(self.secret)
        yield
        self.fake.close()

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        def answering(answer: Answer) -> Callable[[], None]:
            return lambda: setattr(self.fake, "fault", lambda: answer)

        return [ChannelFault(error=error, call=call, make=answering(each)) for error, call, each in self.faulty]  # type: ignore[arg-type]

    def recipient(self) -> Address:
        return self.sender(7)

    def sender(self, number: int) -> Address:
        raise NotImplementedError

    def samples(self, count: int) -> list[IncomingMessage]:
        found = []
        for number, each in enumerate(super().samples(count)):
            sender = self.sender(number)
            found.append(attrs.evolve(each, sender=sender, subject="", thread=sender.value.lstrip("+")))
        return found

    def outgoing(self, number: int) -> OutgoingMessage:
        """The text says which message it is, for these services take no id of ours."""
        found = super().outgoing(number)
        return attrs.evolve(found, subject="", text=f"{found.text} {found.message_id}")

    def arrived(self, place: Path) -> list[str]:
        return [found[0] for text in self.fake.texts if (found := _ID.search(text))]

    def arrived_texts(self, place: Path) -> list[str]:
        return self.fake.texts


class TestTelegram(OfAFake):
    channel = "telegram"
    secret = "123456:canary-5f2d9c1b7e"
    make = FakeTelegram
    fake: FakeTelegram
    faulty = (
        (TryLater, "poll", (502, {"ok": False, "error_code": 502, "description": "Bad Gateway"}, {})),
        (TryLater, "poll", (409, {"ok": False, "description": "Conflict: terminated by other getUpdates"}, {})),
        (TryLater, "send", (429, {"ok": False, "description": "Too Many", "parameters": {"retry_after": 35}}, {})),
        (MessageRejected, "send", (403, {"ok": False, "description": "Forbidden: bot was blocked by the user"}, {})),
        (TryLater, "poll", (400, {"ok": False, "description": "Bad Request"}, {})),
        (CredentialsWrong, "check", (401, {"ok": False, "description": "Unauthorized"}, {})),
    )

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"token": secret, "webhook_secret": secret, "api": self.fake.url}

    def sender(self, number: int) -> Address:
        return Address(kind="telegram", value=str(1_000_000 + number), name="سارا")

    def content(self, message: IncomingMessage) -> dict[str, Any]:
        sender = {"id": int(message.sender.value), "is_bot": False, "first_name": message.sender.name}
        at = int(message.at.timestamp()) if message.at else 0
        return {"from": sender, "chat": {"id": sender["id"]}, "date": at, "text": message.text}

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        self.fake.arrive(**self.content(message))

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        self.fake.update(**{("message", "edited_message", "unheard_of")[number % 3]: content.decode("latin-1")})

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        body = json.dumps(self.fake.arrive(**self.content(message))).encode()
        headers = {"x-telegram-bot-api-secret-token": self.secret}
        return WebhookRequest(headers=headers, body=body, received_at=at)

    def test_the_same_cursor_gives_the_same_again(self, tmp_path: Path, account: Account) -> None:
        """Overridden: the Bot API forgets what a later poll confirmed, so that no older cursor brings it back."""
        for each in self.samples(5):
            self.arrive(tmp_path, each)
        first, again = account().poll(""), account().poll("")
        assert 5 == len(first.messages)
        assert first == again
        assert () == tuple(account().poll(first.cursor).messages)

    def test_a_request_that_the_service_did_not_make_is_refused(self, tmp_path: Path, account: Account) -> None:
        """Overridden: the Bot API signs no body, so that one who has the token may write any."""
        request = self.request(tmp_path, self.samples(1)[0], NOW)
        token = {"x-telegram-bot-api-secret-token": "0"}
        bodies = [b"", b"\xff", b"{", b"[]", b"null", b'{"id": 1}', b"[" * 100_000]
        forged = [attrs.evolve(request, headers={}), attrs.evolve(request, headers=token)]
        for each in [*forged, *(attrs.evolve(request, body=body) for body in bodies)]:
            with pytest.raises(RequestRefused):
                account().parse(each)

    def test_telegram_says_how_long_to_wait(self, tmp_path: Path, account: Account) -> None:
        self.faults(tmp_path)[2].make()
        with pytest.raises(TryLater) as caught:
            account().send(self.outgoing(1))
        assert 35 == caught.value.delay

    def test_a_bot_with_a_webhook_is_not_polled(self, account: Account) -> None:
        told = "Conflict: can't use getUpdates method while webhook is active"
        self.fake.fault = lambda: (409, {"ok": False, "description": told}, {})
        assert Received(cursor="5") == account().poll("5")

    def test_files_are_named_and_a_text_that_is_too_long_is_refused(self, tmp_path: Path, account: Account) -> None:
        content = {**self.content(self.samples(1)[0]), "caption": "See", "photo": [{}]}
        del content["text"]
        self.fake.arrive(**content)
        assert ["See\n[photo]"] == [each.text for each in account().poll("").messages]
        with pytest.raises(MessageRejected):
            account().send(attrs.evolve(self.outgoing(1), text="x" * 4_097))


class TestWhatsApp(OfAFake):
    channel = "whatsapp"
    make = FakeWhatsApp
    fake: FakeWhatsApp
    faulty = (
        (TryLater, "send", (503, {"error": {"message": "Service unavailable", "code": 2}}, {})),
        (TryLater, "send", (429, {"error": {"message": "Rate limit hit", "code": 130429}}, {"retry-after": "9"})),
        (TryLater, "send", (400, {"error": {"message": "Pair rate limit hit", "code": 131056}}, {})),
        (MessageRejected, "send", (400, {"error": {"message": "Re-engagement message", "code": 131047}}, {})),
        (CredentialsWrong, "check", (401, {"error": {"message": "Session has expired", "code": 190}}, {})),
    )

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        secrets = dict.fromkeys(("token", "app_secret", "verify_token"), secret)
        return {"phone_number_id": "77", "api": self.fake.url, **secrets}

    def sender(self, number: int) -> Address:
        return Address(kind="whatsapp", value=f"+4917{number:08}", name="سارا")

    def signed(self, value: Mapping[str, Any], at: datetime, number: str = "77") -> WebhookRequest:
        change = {"field": "messages", "value": {"metadata": {"phone_number_id": number}, **value}}
        content = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
        body = json.dumps(content).encode()
        signature = hmac.digest(self.secret.encode(), body, "sha256").hex()
        return WebhookRequest(headers={"x-hub-signature-256": f"sha256={signature}"}, body=body, received_at=at)

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        sender = message.sender.value.lstrip("+")
        found = {"id": message.external_id, "from": sender, "timestamp": "1", "type": "text"}
        contacts = [{"wa_id": sender, "profile": {"name": message.sender.name}}]
        return self.signed({"messages": [{**found, "text": {"body": message.text}}], "contacts": contacts}, at)

    def arrived(self, place: Path) -> list[str]:
        return self.fake.ids

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        status = {"id": receipt.provider_id, "status": "delivered", "timestamp": "1764000000"}
        status["biz_opaque_callback_data"] = message_id
        return channel.parse(self.signed({"statuses": [status]}, NOW))

    def test_the_webhook_is_verified_by_its_token(self, account: Account) -> None:
        query = {"hub.mode": "subscribe", "hub.verify_token": self.secret, "hub.challenge": "1158201444"}
        asked = WebhookRequest(method="GET", query=query, received_at=NOW)
        assert "1158201444" == account().parse(asked).reply
        with pytest.raises(RequestRefused):
            account().parse(attrs.evolve(asked, query={**query, "hub.verify_token": "x"}))

    def test_what_comes_to_another_number_of_the_app_is_not_ours(self, tmp_path: Path, account: Account) -> None:
        status = {"id": "wamid.1", "status": "failed", "errors": [{"code": 131026, "title": "Undeliverable"}]}
        assert not account().parse(self.signed({"statuses": [status]}, NOW, number="78")).receipts
        (told,) = account().parse(self.signed({"statuses": [status]}, NOW)).receipts
        assert ("failed", "Undeliverable") == (told.status, told.reason)


class TestTwilio(OfAFake):
    channel = "twilio"
    make = FakeTwilio
    faulty = (
        (TryLater, "send", (500, {"code": 20500, "message": "Internal Server Error"}, {})),
        (TryLater, "send", (429, {"code": 20429, "message": "Too Many Requests"}, {"retry-after": "1"})),
        (MessageRejected, "send", (400, {"code": 21211, "message": "Invalid 'To' Phone Number"}, {})),
        (CredentialsWrong, "check", (401, {"code": 20003, "message": "Authenticate"}, {})),
    )

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"account_sid": "AC1", "token": secret, "number": "+1555", "url": URL, "api": self.fake.url}

    def sender(self, number: int) -> Address:
        return Address(kind="phone", value=f"+4917{number:08}")

    def samples(self, count: int) -> list[IncomingMessage]:
        return [attrs.evolve(each, thread=each.sender.value) for each in super().samples(count)]

    def signed(self, fields: Mapping[str, str], at: datetime) -> WebhookRequest:
        plain = URL + "".join(f"{name}{fields[name]}" for name in sorted(fields))
        signature = base64.b64encode(hmac.digest(self.secret.encode(), plain.encode(), "sha1")).decode()
        return WebhookRequest(
            headers={"x-twilio-signature": signature}, body=urlencode(fields).encode(), received_at=at
        )

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        fields = {"MessageSid": message.external_id, "From": message.sender.value, "Body": message.text}
        return self.signed({**fields, "NumMedia": "0", "AccountSid": "AC1"}, at)

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        return channel.parse(self.signed({"MessageSid": receipt.provider_id, "MessageStatus": "delivered"}, NOW))

    def test_a_status_that_says_nothing_new_is_answered(self, account: Account) -> None:
        assert not account().parse(self.signed({"MessageSid": "SM1", "MessageStatus": "queued"}, NOW)).receipts
        failed = self.signed({"MessageSid": "SM1", "MessageStatus": "undelivered", "ErrorCode": "30003"}, NOW)
        assert ["error 30003"] == [each.reason for each in account().parse(failed).receipts]


class TestKavenegar(OfAFake):
    channel = "kavenegar"
    make = FakeKavenegar
    fake: FakeKavenegar
    faulty = (
        (TryLater, "poll", (200, {"return": {"status": 451, "message": "too many calls"}, "entries": None}, {})),
        (TryLater, "poll", (200, {"return": {"status": 417, "message": "no such date"}, "entries": None}, {})),
        (CredentialsWrong, "poll", (200, {"return": {"status": 407, "message": "not from here"}, "entries": None}, {})),
        (TryLater, "send", (409, {"return": {"status": 409, "message": "busy"}, "entries": None}, {})),
        (MessageRejected, "send", (411, {"return": {"status": 411, "message": "no such number"}, "entries": None}, {})),
        (CredentialsWrong, "send", (418, {"return": {"status": 418, "message": "no credit"}, "entries": None}, {})),
        (CredentialsWrong, "check", (403, {"return": {"status": 403, "message": "wrong key"}, "entries": None}, {})),
    )

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"key": secret, "webhook_secret": secret, "line": "10004346", "api": self.fake.url}

    def sender(self, number: int) -> Address:
        return Address(kind="phone", value=f"+98912{number:07}")

    def samples(self, count: int) -> list[IncomingMessage]:
        return [attrs.evolve(each, thread=each.sender.value) for each in super().samples(count)]

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        sender = message.sender.value.replace("+98", "0")  # as Kavenegar writes them
        self.fake.arrive(message.external_id, sender, message.text)

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        odd: Any = (None, True, [], {"a": 1}, content.decode("latin-1"))[number % 5]
        field = ("messageid", "sender", "message", "date")[number % 4]
        self.fake.arrive(f"garbage {number}", **{"sender": "0912", "text": "x", field: odd})

    def call(self, fields: Mapping[str, str], at: datetime) -> WebhookRequest:
        path = f"/hooks/tested/{self.secret}"
        return WebhookRequest(path=path, body=urlencode(fields).encode(), received_at=at)

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        self.arrive(place, message)
        name = str(self.fake.arrive(message.external_id, "", "")["messageid"])
        told = {"messageid": name, "from": message.sender.value, "to": "10004346", "message": message.text}
        return self.call(told, at)

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        self.fake.statuses[receipt.provider_id] = 10
        return channel.parse(self.call({"messageid": receipt.provider_id, "status": "10"}, NOW))

    def test_a_request_that_the_service_did_not_make_is_refused(self, tmp_path: Path, account: Account) -> None:
        """Overridden: Kavenegar signs nothing, so that its address alone says that it calls."""
        request = self.request(tmp_path, self.samples(1)[0], NOW)
        paths = ["/hooks/tested", "/hooks/tested/", f"/hooks/tested/{self.secret}x", f"/{self.secret}/x"]
        forged = [attrs.evolve(request, path=path) for path in paths]
        bodies = [b"", b"\xff", b"{", b"[]", b"messageid=1", b"messageid=-1&message=x", b'{"id": 1}', b"[" * 100_000]
        unknown = [b"messageid=35859999&message=x&from=0912", b'{"messageid": 35859999, "message": "x"}']
        for each in [*forged, *(attrs.evolve(request, body=body) for body in (*bodies, *unknown))]:
            with pytest.raises(RequestRefused):
                account().parse(each)

    def test_what_comes_in_is_what_kavenegar_says_not_what_the_call_says(
        self, tmp_path: Path, account: Account
    ) -> None:
        self.arrive(tmp_path, self.samples(1)[0])
        name = str(self.fake.arrive(self.samples(1)[0].external_id, "", "")["messageid"])
        forged = {"messageid": name, "from": "09120000009", "to": "1", "message": "STOP"}
        (found,) = account().parse(self.call(forged, NOW)).messages
        assert ("+989120000000", self.samples(1)[0].text, "") == (found.sender.value, found.text, found.wish)
        query = {"messageid": name, "message": "x"}
        asked = attrs.evolve(self.call({}, NOW), method="GET", body=b"", query=query)
        assert [found] == list(account().parse(asked).messages)

    def test_a_status_is_what_kavenegar_says_not_what_the_call_says(self, tmp_path: Path, account: Account) -> None:
        receipt = account().send(self.outgoing(1))
        call = self.call({"messageid": receipt.provider_id, "status": "10"}, NOW)
        assert not account().parse(call).receipts  # it is unknown there
        for code, wanted in {1: [], 4: ["sent"], 10: ["delivered"], 11: ["failed"], 14: ["failed"], 99: []}.items():
            self.fake.statuses[receipt.provider_id] = code
            told = account().parse(call).receipts
            assert (wanted, [code == 14] * len(told)) == ([e.status for e in told], [e.unsubscribed for e in told])

    def test_whom_it_does_not_send_to_any_more_has_no_consent(self, account: Account) -> None:
        self.fake.blocked.add(self.recipient().value)
        with pytest.raises(MessageRejected) as caught:
            account().send(self.outgoing(1))
        assert caught.value.unsubscribed

    def test_a_line_that_was_not_read_for_long_is_read_in_windows(self, tmp_path: Path, account: Account) -> None:
        days = (29, 20, 3, 0)
        for day in days:
            self.fake.arrive(f"m{day}", "09121234567", f"{day} days ago", ago=day * 86_400)
        cursor, found = str(int(time()) - 1_000 * 86_400), list[str]()
        for _ in range(40):
            received = account().poll(cursor)
            found += [each.text for each in received.messages]
            cursor = received.cursor
            if not received.more:
                break
        assert [f"{day} days ago" for day in days] == list(dict.fromkeys(found))
        assert int(time()) - 3_700 < int(cursor) <= int(time()) - 3_600

    def test_what_waited_unread_for_long_is_not_passed_over_at_first(self, account: Account) -> None:
        self.fake.arrive("old", "09121234567", "11", ago=9 * 86_400)
        (found,) = account().poll("").messages
        assert ("11", "stop", "+989121234567") == (found.text, found.wish, found.thread)

    def test_a_secret_that_can_be_guessed_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY", "short")
        secrets = 'key = {env = "KEY"}\nwebhook_secret = {env = "KEY"}\n'
        text = f'[storage]\nurl = "memory:"\n[channels.a]\ntype = "kavenegar"\nline = "1"\n{secrets}'
        (tmp_path / "crm.toml").write_text(text, "utf-8")
        with CRM.open(tmp_path) as crm, crm.channels.open("a") as channel:
            calls = (channel.check, lambda: channel.parse(WebhookRequest(path="/hooks/a/short", received_at=NOW)))
            for call in calls:
                with pytest.raises(CredentialsWrong, match="nobody guesses"):
                    call()

    def test_a_repetition_does_not_leave_twice(self, tmp_path: Path, account: Account) -> None:
        receipts = [account().send(self.outgoing(1)) for _ in range(2)]
        assert 1 == len(self.arrived(tmp_path))
        assert receipts[0] == receipts[1]


def test_a_service_that_cannot_be_reached_is_tried_later() -> None:
    from crm_channel_messengers.service import Service

    with pytest.raises(TryLater, match="ConnectError"):
        Service("http://127.0.0.1:9").call("GET", "/")


def test_no_redirect_is_followed() -> None:
    from crm_channel_messengers.service import Service

    fake = FakeTwilio("x")
    try:
        fake.fault = lambda: (302, {"moved": True}, {"location": "http://127.0.0.1:9/secret"})
        service = Service(fake.url)
        with pytest.raises(TryLater, match="302"):
            service.call("GET", "/")
        service.close()
    finally:
        fake.close()


@pytest.mark.parametrize("packed", [True, False])
def test_an_answer_without_end_is_not_read_to_its_end(packed: bool) -> None:
    """A bomb in a reply: a gigabyte, packed small, or written for as long as somebody reads."""
    from crm_channel_messengers.service import Service

    written = [0]
    piece = gzip.compress(b"[" * 100_000_000, 1) if packed else b"[" * 1_000_000

    class Bomb(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if packed:
                self.send_header("content-encoding", "gzip")
            self.end_headers()
            with suppress(OSError):
                for _ in range(1 if packed else 1_000):
                    self.wfile.write(piece)
                    written[0] += len(piece)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Bomb) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        service = Service(f"http://127.0.0.1:{server.server_address[1]}")
        tracemalloc.start()
        try:
            with pytest.raises(TryLater, match="no JSON"):
                service.call("GET", "/")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            service.close()
            server.shutdown()
            thread.join()
    assert peak < 90_000_000
    assert written[0] < 100_000_000
