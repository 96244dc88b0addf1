"""Words that end messages, in the languages of those who write them, and what Twilio says of itself."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import attrs
import pytest

from crm_channel_messengers.wishes import WishSettings, heeded, wish_of
from crm_core import CRM, Consent
from crm_core.errors import RequestRefused
from crm_core.extend import Address, IncomingMessage, JobRun, Received, WebhookRequest
from crm_inbox import receive, send
from crm_inbox.sending import send_account

from .fakes import FakeTwilio
from .test_contents import NOW, SECRET, Workspace, parsed, told_telegram, told_whatsapp, whatsapp, workspace

__all__ = ["workspace"]
URL = "https://crm.example.org/hooks/sms"


@pytest.mark.parametrize(
    "text",
    [
        "STOP", "stop.", " Stop!\n", "«stop»", "Arrêt", "ARRET", "arre\u0302t", "ABMELDEN", "Стоп", "لغو", "لـغو",
        "لغو\u200c", "ԿԱՆԳ։", "ايقاف", "stop  all", "StopAll", "opt\u2011out", "/stop",
    ],
)  # fmt: skip
def test_a_word_that_is_the_whole_message_ends_messages_however_it_is_written(text: str) -> None:
    assert "stop" == wish_of(text, WishSettings())


@pytest.mark.parametrize(
    "text",
    ["Please stop by noon", "don't stop", "stop\nmy order", "لغو سفارش ۱۲", "end", "cancel", "11", "", "?!", "x" * 999],
)  # fmt: skip
def test_a_word_within_a_message_ends_nothing(text: str) -> None:
    assert "" == wish_of(text, WishSettings())


def test_the_words_are_those_of_the_account() -> None:
    own = WishSettings(stop_words=("Basta",), start_words=())
    assert ["stop", "", ""] == [wish_of(text, own) for text in ("BASTA!", "stop", "start")]


def test_what_is_said_in_a_group_or_by_us_is_no_wish() -> None:
    said = IncomingMessage(
        external_id="1", sender=Address(kind="whatsapp", value="+49175"), text="stop", thread="49175"
    )
    messages = [said, attrs.evolve(said, thread="group"), attrs.evolve(said, direction="out")]
    assert ["stop", "", ""] == [each.wish for each in heeded(messages, WishSettings())]


def test_messengers_heed_the_words(workspace: Workspace) -> None:
    message = {"id": "wamid.1", "from": "491751234567", "type": "text", "text": {"body": "Abmelden"}}
    assert ["stop"] == [each.wish for each in told_whatsapp(whatsapp(workspace), messages=[message]).messages]
    told = {"message_id": 5, "from": {"id": 7, "first_name": "Sara"}, "chat": {"id": 7}, "date": 1, "text": "ԿԱՆԳ"}
    assert ["stop"] == [each.wish for each in told_telegram(workspace, message=told).messages]


def twilio(workspace: Workspace, url: str = URL, api: str = "http://127.0.0.1:9") -> CRM:
    return workspace("twilio", ("token",), account_sid="AC1", number="+1555", url=url, api=api)


def form(fields: Sequence[tuple[str, str]], signed_for: str = URL) -> WebhookRequest:
    """What Twilio sends: signed over the address and the fields in the order of their names."""
    plain = signed_for + "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    signature = base64.b64encode(hmac.digest(SECRET.encode(), plain.encode(), "sha1")).decode()
    return WebhookRequest(headers={"x-twilio-signature": signature}, body=urlencode(fields).encode(), received_at=NOW)


def said(text: str, name: str = "SM1", **more: str) -> list[tuple[str, str]]:
    return [*{"MessageSid": name, "From": "+491751234567", "Body": text, "NumMedia": "0", **more}.items()]


@pytest.mark.parametrize(
    ("text", "more", "wish"),
    [
        ("STOP", {"OptOutType": "STOP"}, "stop"),
        ("Genug", {"OptOutType": "STOP"}, "stop"),  # a word that the shop told Twilio
        ("Weiter", {"OptOutType": "START"}, "start"),
        ("HELP", {"OptOutType": "HELP"}, ""),
        ("Cancel", {}, "stop"),
        ("YES", {}, "start"),
        ("Hello", {"OptOutType": "WHATEVER"}, ""),
    ],
)
def test_twilio_says_itself_what_a_word_did(
    workspace: Workspace, text: str, more: Mapping[str, str], wish: str
) -> None:
    (found,) = parsed(twilio(workspace), form(said(text, **more))).messages
    assert wish == found.wish


def test_stop_and_start_at_twilio_are_consent_with_their_source(workspace: Workspace) -> None:
    crm = twilio(workspace)
    for number, (text, kind) in enumerate([("STOP", "STOP"), ("START", "START")]):
        receive(crm, "it", parsed(crm, form(said(text, f"SM{number}", OptOutType=kind))))
    assert [("service", "withdrawn", "STOP at it"), ("service", "granted", "START at it")] == [
        (each.purpose, each.status, each.source) for each in crm.records(Consent).find(sort="id")
    ]
    assert not crm.interactions.count("needs_answer = true")


def test_twilio_refuses_whom_it_was_told_stop_by_and_nothing_is_tried_again(workspace: Workspace) -> None:
    fake = FakeTwilio(SECRET)
    try:
        crm = twilio(workspace, api=fake.url)
        fake.unsubscribed.add("+491751234567")
        receive(crm, "it", parsed(crm, form(said("Hello"))))
        (sara,) = crm.customers.find()
        send(crm, "Your order left", customer=sara.id)
        send(crm, "Did it come?", customer=sara.id)
        told = send_account(JobRun(crm=crm, part="it", stopping=lambda: False)).told
        assert ("2 given up", 1) == (told, fake.connections)
        assert [("service", "withdrawn")] == [(each.purpose, each.status) for each in crm.records(Consent).find()]
    finally:
        fake.close()


def test_a_status_of_twilio_says_that_somebody_unsubscribed(workspace: Workspace) -> None:
    told = [("MessageSid", "SM1"), ("MessageStatus", "failed"), ("ErrorCode", "21610")]
    assert [True] == [each.unsubscribed for each in parsed(twilio(workspace), form(told)).receipts]
    other = [*told[:2], ("ErrorCode", "30003")]
    assert [False] == [each.unsubscribed for each in parsed(twilio(workspace), form(other)).receipts]


@pytest.mark.parametrize(
    ("url", "signed_for"),
    [
        (URL, "https://crm.example.org:443/hooks/sms"),
        ("https://crm.example.org:443/hooks/sms", URL),
        (f"{URL}?shop=1&b=%20", f"{URL}?shop=1&b=%20"),
        ("https://crm.example.org:8443/hooks/sms", "https://crm.example.org:8443/hooks/sms"),
    ],
)
def test_twilio_may_sign_the_port_that_the_scheme_has_anyway(workspace: Workspace, url: str, signed_for: str) -> None:
    assert 1 == len(parsed(twilio(workspace, url), form(said("Hi"), signed_for)).messages)


@pytest.mark.parametrize(
    "signed_for",
    ["https://crm.example.org:8443/hooks/sms", "http://crm.example.org/hooks/sms", f"{URL}?bodySHA256=0", f"{URL}/"],
)
def test_what_is_signed_for_another_address_is_refused(workspace: Workspace, signed_for: str) -> None:
    with pytest.raises(RequestRefused):
        parsed(twilio(workspace), form(said("Hi"), signed_for))


def test_fields_are_signed_in_the_order_of_their_names_and_equal_ones_once(workspace: Workspace) -> None:
    fields = [("b", "1"), ("a", "2"), ("a", "1"), ("a", "2"), *said("سلام & + %41")]
    found: Received = parsed(twilio(workspace), form(fields))
    assert ["سلام & + %41"] == [each.text for each in found.messages]
