"""What people send beside texts, as the services document it: nothing that was said is lost, and nothing is made up."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM
from crm_core.errors import CredentialsWrong, MessageRejected, RequestRefused, TryLater
from crm_core.extend import Address, OutgoingMessage, Received, WebhookRequest
from crm_inbox import receive

from .fakes import FakeKavenegar, FakeViber, FakeWhatsApp

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
SECRET = "canary-5f2d9c1b7e"
Workspace = Callable[..., CRM]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """Make a workspace with an account named "it"."""
    monkeypatch.setenv("SECRET", SECRET)
    with ExitStack() as opened:

        def make(kind: str, secrets: Sequence[str], **options: str) -> CRM:
            lines = ["[storage]", 'url = "memory:"', "[channels.it]", f'type = "{kind}"']
            lines += [f'{name} = {{env = "SECRET"}}' for name in secrets]
            lines += [f'{name} = "{value}"' for name, value in options.items()]
            (tmp_path / "crm.toml").write_text("\n".join(lines) + "\n", "utf-8")
            return opened.enter_context(CRM.open(tmp_path))

        yield make


def signed(name: str, content: Any, *, prefix: str = "") -> WebhookRequest:
    body = json.dumps(content).encode()
    signature = prefix + hmac.digest(SECRET.encode(), body, "sha256").hex()
    return WebhookRequest(headers={name: signature}, body=body, received_at=NOW)


def parsed(crm: CRM, request: WebhookRequest) -> Received:
    with crm.channels.open("it") as channel:
        return channel.parse(request)


def sent(crm: CRM, recipient: Address, thread: str = "") -> None:
    with crm.channels.open("it") as channel:
        channel.send(OutgoingMessage(message_id="<1@x>", recipient=recipient, text="Hi", thread=thread))


def whatsapp(workspace: Workspace, api: str = "http://127.0.0.1:9") -> CRM:
    return workspace("whatsapp", ("token", "app_secret", "verify_token"), phone_number_id="77", api=api)


def told_whatsapp(crm: CRM, **value: Any) -> Received:
    change = {"field": "messages", "value": {"metadata": {"phone_number_id": "77"}, **value}}
    content = {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
    return parsed(crm, signed("x-hub-signature-256", content, prefix="sha256="))


BUTTON = {"type": "button_reply", "button_reply": {"id": "b1", "title": "Yes, send it"}}
ROW = {"type": "list_reply", "list_reply": {"id": "r1", "title": "Tuesday", "description": "from 9 to 12"}}
FORM = {"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"size": "XL"}'}}
PERSON = {
    "name": {"formatted_name": "Ali Rezaei", "first_name": "Ali"},
    "org": {"company": "Pars"},
    "phones": [{"phone": "+98 912 345 6789", "wa_id": "989123456789", "type": "WORK"}],
    "emails": [{"email": "ali@example.org"}],
}
CHANGED = {"type": "text", "text": {"body": "50, not 5"}}
PRODUCTS = [{"product_retailer_id": "mug-1", "quantity": 2, "item_price": 12.5, "currency": "EUR"}]


@pytest.mark.parametrize(
    ("content", "text", "answers"),
    [
        ({"type": "interactive", "interactive": BUTTON, "context": {"id": "wamid.0"}},
         "Yes, send it\n[interactive]", ("wamid.0",)),
        ({"type": "interactive", "interactive": ROW}, "Tuesday\nfrom 9 to 12\n[interactive]", ()),
        ({"type": "interactive", "interactive": FORM}, 'Sent\n{"size": "XL"}\n[interactive]', ()),
        ({"type": "button", "button": {"payload": "p", "text": "No, thanks"}}, "No, thanks\n[button]", ()),
        ({"type": "location", "location": {"latitude": 35.7, "longitude": 51.4, "name": "Home", "address": "Azadi 1"}},
         "Home\nAzadi 1\n35.7, 51.4\n[location]", ()),
        ({"type": "contacts", "contacts": [PERSON]},
         "Ali Rezaei, Pars, +98 912 345 6789, ali@example.org\n[contacts]", ()),
        ({"type": "order", "order": {"catalog_id": "1", "text": "Gift wrap?", "product_items": PRODUCTS}},
         "Gift wrap?\n2 x mug-1 12.5 EUR\n[order]", ()),
        ({"type": "reaction", "reaction": {"message_id": "wamid.0", "emoji": "👍"}}, "👍\n[reaction]", ("wamid.0",)),
        ({"type": "image", "image": {"caption": "Broken", "id": "1"}}, "Broken\n[image]", ()),
        ({"type": "edit", "edit": {"original_message_id": "wamid.0", "message": CHANGED}},
         "50, not 5\n[edit]", ("wamid.0",)),
        ({"type": "unsupported", "errors": [{"code": 131051}]}, "[unsupported]", ()),
    ],
)  # fmt: skip
def test_whatsapp_in_words(workspace: Workspace, content: dict[str, Any], text: str, answers: tuple[str, ...]) -> None:
    message = {"id": "wamid.1", "from": "491751234567", "timestamp": "1764000000", **content}
    (found,) = told_whatsapp(whatsapp(workspace), messages=[message]).messages
    assert (text, answers, "+491751234567") == (found.text, found.replies_to, found.sender.value)


def test_a_reaction_that_is_taken_back_says_nothing_and_a_changed_number_needs_no_answer(workspace: Workspace) -> None:
    crm = whatsapp(workspace)
    common = {"from": "491751234567", "timestamp": "1764000000"}
    removed = {**common, "id": "wamid.1", "type": "reaction", "reaction": {"message_id": "wamid.0"}}
    moved = {"body": "A changed from 49 to 98", "type": "user_changed_number", "wa_id": "98"}
    found = told_whatsapp(crm, messages=[removed, {**common, "id": "wamid.2", "type": "system", "system": moved}])
    assert ["A changed from 49 to 98\n[system]"] == [each.text for each in found.messages]
    receive(crm, "it", found)
    assert [False] == [each.needs_answer for each in crm.interactions.find()]


def test_who_shows_a_username_in_the_place_of_a_number_is_written_back_to(workspace: Workspace) -> None:
    fake = FakeWhatsApp(SECRET)
    try:
        crm = whatsapp(workspace, fake.url)
        contact = {"profile": {"name": "Sara", "username": "sara"}, "user_id": "US.13491208655302741918"}
        message = {"id": "wamid.1", "timestamp": "1764000000", "type": "text", "text": {"body": "Hi"}}
        found = told_whatsapp(crm, contacts=[contact], messages=[message])
        assert (1, 1) == (receive(crm, "it", found).leads, crm.customers.count())
        again = told_whatsapp(crm, contacts=[contact], messages=[{**message, "id": "wamid.2"}])
        assert 0 == receive(crm, "it", again).leads
        (sara,) = crm.customers.find()
        assert "Sara" == sara.name
        assert [sara.id] == crm.customers.reached_at("whatsapp", "US.13491208655302741918")
        asked = sent_by(fake, crm, found.messages[0].sender, found.messages[0].thread)
        assert ("US.13491208655302741918", None) == (asked["recipient"], asked.get("to"))
    finally:
        fake.close()


def test_a_reply_to_a_group_goes_to_the_group_and_one_to_a_person_to_them(workspace: Workspace) -> None:
    fake = FakeWhatsApp(SECRET)
    try:
        crm = whatsapp(workspace, fake.url)
        message = {"id": "wamid.1", "from": "491751234567", "type": "text", "text": {"body": "We three"}}
        alone, among = (
            told_whatsapp(crm, messages=[{**message, **more}]).messages[0] for more in ({}, {"group_id": "Y2FwaV9n"})
        )
        assert (alone.sender, "Y2FwaV9n") == (among.sender, among.thread)
        asked = [sent_by(fake, crm, each.sender, each.thread) for each in (alone, among)]
        assert [("individual", "491751234567"), ("group", "Y2FwaV9n")] == [
            (a["recipient_type"], a["to"]) for a in asked
        ]
    finally:
        fake.close()


def sent_by(fake: FakeWhatsApp, crm: CRM, recipient: Address, thread: str) -> Mapping[str, Any]:
    sent(crm, recipient, thread)
    return fake.asked[-1]


def test_what_a_colleague_wrote_on_the_phone_went_out(workspace: Workspace) -> None:
    echo = {"from": "1555", "to": "491751234567", "id": "wamid.9", "timestamp": "1764000000", "type": "text"}
    found = told_whatsapp(whatsapp(workspace), message_echoes=[{**echo, "text": {"body": "I called her"}}])
    assert [("out", "+491751234567", "I called her")] == [
        (each.direction, each.sender.value, each.text) for each in found.messages
    ]


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (403, 130497, MessageRejected),
        (400, 131042, CredentialsWrong),
        (400, 133010, CredentialsWrong),
        (403, 200, CredentialsWrong),
        (400, 131057, TryLater),
        (400, 131026, MessageRejected),
    ],
)
def test_an_error_of_whatsapp_is_about_the_account_or_the_message(
    workspace: Workspace, status: int, code: int, wanted: type[Exception]
) -> None:
    fake = FakeWhatsApp(SECRET)
    try:
        crm = whatsapp(workspace, fake.url)
        fake.fault = lambda: (status, {"error": {"message": "no", "code": code}}, {})
        with pytest.raises(wanted):
            sent_by(fake, crm, Address(kind="whatsapp", value="+491751234567"), "")
    finally:
        fake.close()


def test_a_token_of_another_app_stops_the_account_and_loses_no_message(workspace: Workspace) -> None:
    fake = FakeWhatsApp(SECRET)
    try:
        fake.app_secret = "the secret of another app"
        with pytest.raises(CredentialsWrong, match="proof") as caught:
            sent_by(fake, whatsapp(workspace, fake.url), Address(kind="whatsapp", value="+491751234567"), "")
        assert SECRET not in f"{caught.value!r} {caught.value.hint}"
    finally:
        fake.close()


def test_why_a_message_failed_is_told_in_full(workspace: Workspace) -> None:
    told = {
        "code": 131047,
        "title": "Re-engagement message",
        "error_data": {"details": "More than 24 hours have passed"},
    }
    (receipt,) = told_whatsapp(
        whatsapp(workspace), statuses=[{"id": "wamid.1", "status": "failed", "errors": [told]}]
    ).receipts
    assert "Re-engagement message: More than 24 hours have passed" == receipt.reason


# Telegram

TELEGRAM = {"message_id": 5, "from": {"id": 7, "is_bot": False, "first_name": "Sara"}, "chat": {"id": 7}, "date": 1}


def told_telegram(workspace: Workspace, **update: Any) -> Received:
    return told_to_bot(workspace("telegram", ("token", "webhook_secret")), **update)


def told_to_bot(crm: CRM, **update: Any) -> Received:
    headers = {"x-telegram-bot-api-secret-token": SECRET}
    body = json.dumps({"update_id": 1, **update}).encode()
    return parsed(crm, WebhookRequest(headers=headers, body=body, received_at=NOW))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"contact": {"phone_number": "+989123456789", "first_name": "Ali", "user_id": 9}},
         "Ali, +989123456789\n[contact]"),
        ({"location": {"latitude": 35.7, "longitude": 51.4}}, "35.7, 51.4\n[location]"),
        ({"venue": {"location": {"latitude": 1.5, "longitude": 2.5}, "title": "Shop", "address": "Azadi 1"},
          "location": {"latitude": 1.5, "longitude": 2.5}}, "1.5, 2.5\nShop\nAzadi 1\n[location, venue]"),
        ({"animation": {}, "document": {}, "caption": "Look"}, "Look\n[document, animation]"),
        ({"poll": {"question": "When?", "options": [{"text": "Now"}, {"text": "Later"}]}}, "When?\nNow\nLater\n[poll]"),
        ({"web_app_data": {"data": "size=XL", "button_text": "Choose"}}, "size=XL\n[web_app_data]"),
        ({"something_new": {"x": 1}}, "[message]"),
    ],
)  # fmt: skip
def test_telegram_in_words(workspace: Workspace, content: dict[str, Any], text: str) -> None:
    assert [text] == [each.text for each in told_telegram(workspace, message={**TELEGRAM, **content}).messages]


@pytest.mark.parametrize(
    "content",
    [
        {"new_chat_members": [{"id": 1}]},
        {"left_chat_member": {"id": 1}},
        {"pinned_message": {"message_id": 4}},
        {"migrate_to_chat_id": -100},
        {"group_chat_created": True},
    ],
)
def test_what_only_tells_of_a_chat_is_no_message(workspace: Workspace, content: dict[str, Any]) -> None:
    assert not told_telegram(workspace, message={**TELEGRAM, **content}).messages


def test_a_message_that_is_written_anew_comes_as_one_of_its_own(workspace: Workspace) -> None:
    edited = {**TELEGRAM, "text": "Order 50, not 5", "edit_date": 1_764_000_000}
    (found,) = told_telegram(workspace, edited_message=edited).messages
    assert ("7:5:1764000000", "Order 50, not 5\n[edited]", ("7:5",)) == (
        found.external_id, found.text, found.replies_to
    )  # fmt: skip
    moving = {**TELEGRAM, "location": {"latitude": 1.5, "longitude": 2.5, "live_period": 900}, "edit_date": 2}
    assert not told_telegram(workspace, edited_message=moving).messages


# Viber


def viber(workspace: Workspace, api: str = "http://127.0.0.1:9") -> CRM:
    return workspace("viber", ("token",), sender="Shop", api=api)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"type": "contact", "contact": {"name": "Ali", "phone_number": "+989123456789"}},
         "Ali, +989123456789\n[contact]"),
        ({"type": "location", "location": {"lat": 35.7, "lon": 51.4}}, "35.7, 51.4\n[location]"),
        ({"type": "url", "media": "https://example.org/x"}, "https://example.org/x\n[url]"),
        ({"type": "file", "file_name": "a.pdf", "size": 5, "media": "https://dl.example.org"}, "a.pdf\n[file]"),
        ({"type": "sticker", "sticker_id": 46105}, "[sticker]"),
    ],
)  # fmt: skip
def test_viber_in_words(workspace: Workspace, content: dict[str, Any], text: str) -> None:
    event = {"event": "message", "message_token": 1, "timestamp": 1, "sender": {"id": "x"}, "message": content}
    found = parsed(viber(workspace), signed("x-viber-content-signature", event))
    assert [text] == [each.text for each in found.messages]


def test_a_general_fault_of_viber_passes(workspace: Workspace) -> None:
    fake = FakeViber(SECRET)
    try:
        crm = viber(workspace, fake.url)
        fake.fault = lambda: (200, {"status": 999, "status_message": "general error"}, {})
        with pytest.raises(TryLater):
            sent(crm, Address(kind="viber", value="x"))
    finally:
        fake.close()


# Messenger and Instagram


def told_page(workspace: Workspace, kind: str = "messenger", **event: Any) -> Received:
    return told_on_page(workspace(kind, ("token", "app_secret", "verify_token"), page_id="77"), kind, **event)


def told_on_page(crm: CRM, kind: str = "messenger", **event: Any) -> Received:
    whole = {"sender": {"id": "p1"}, "recipient": {"id": "77"}, "timestamp": 1_764_000_000_000, **event}
    content = {"object": {"messenger": "page"}.get(kind, kind), "entry": [{"id": "77", "messaging": [whole]}]}
    return parsed(crm, signed("x-hub-signature-256", content, prefix="sha256="))


SPOT = {"type": "location", "title": "Home", "payload": {"coordinates": {"lat": 35.7, "long": 51.4}}}
LINK = {"type": "fallback", "title": "A mug", "payload": {"url": "https://example.org/mug", "title": "A mug"}}


@pytest.mark.parametrize(
    ("event", "key", "text", "answers"),
    [
        ({"message": {"mid": "m1", "attachments": [SPOT]}}, "m1", "Home\n35.7, 51.4\n[location]", ()),
        ({"message": {"mid": "m1", "attachments": [LINK]}}, "m1", "A mug\nhttps://example.org/mug\n[fallback]", ()),
        ({"message": {"mid": "m1", "is_unsupported": True}}, "m1", "[unsupported]", ()),
        ({"reaction": {"mid": "m0", "action": "react", "reaction": "love", "emoji": "❤"}},
         "m0:reaction:1764000000000", "❤\n[reaction]", ("m0",)),
        ({"message_edit": {"mid": "m0", "text": "50, not 5", "num_edit": 1}},
         "m0:edit:1", "50, not 5\n[edit]", ("m0",)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["messenger", "instagram"])
def test_pages_in_words(
    workspace: Workspace, kind: str, event: dict[str, Any], key: str, text: str, answers: tuple[str, ...]
) -> None:
    (found,) = told_page(workspace, kind, **event).messages
    assert (key, text, answers) == (found.external_id, found.text, found.replies_to)


def test_a_reaction_that_is_taken_back_or_of_the_page_itself_says_nothing(workspace: Workspace) -> None:
    reaction = {"mid": "m0", "reaction": "love", "emoji": "❤"}
    assert not told_page(workspace, reaction={**reaction, "action": "unreact"}).messages
    assert not told_page(workspace, reaction={**reaction, "action": "react"}, sender={"id": "77"}).messages


# SMS


def test_a_line_that_is_not_ours_is_a_fault_of_the_account(workspace: Workspace) -> None:
    fake = FakeKavenegar(SECRET)
    try:
        crm = workspace("kavenegar", ("key",), line="1000", api=fake.url)
        fake.fault = lambda: (412, {"return": {"status": 412, "message": "sender"}, "entries": None}, {})
        with pytest.raises(CredentialsWrong):
            sent(crm, Address(kind="phone", value="0912"))
    finally:
        fake.close()


# Whatever a service, or somebody in its name, writes

ODD = (None, True, -1, 10**30, 1.5, "", "a\nb", "\u2028", "\x00", [], {}, [None], {"a": {}}, ["x"])
PLACES = {
    "whatsapp": {
        "contacts": [{"wa_id": "49", "user_id": "US.1", "profile": {"name": "Sara"}}],
        "messages": [
            {"id": "a", "from": "49", "timestamp": "1", "type": "interactive", "interactive": ROW, "context": {}},
            {"id": "b", "from": "49", "type": "contacts", "contacts": [PERSON]},
            {"id": "c", "from": "49", "type": "order", "order": {"text": "t", "product_items": PRODUCTS}},
            {"id": "d", "from": "49", "type": "edit", "edit": {"original_message_id": "a", "message": CHANGED}},
            {"id": "e", "from": "49", "type": "location", "location": {"latitude": 1.5, "longitude": 2, "name": "n"}},
        ],
        "message_echoes": [{"id": "f", "to": "49", "type": "text", "text": {"body": "x"}}],
        "statuses": [{"id": "x", "status": "failed", "timestamp": "1", "errors": [{"title": "t", "error_data": {}}]}],
    },
    "messenger": {
        "message": {"mid": "m", "text": "x", "attachments": [SPOT, LINK], "reply_to": {"mid": "z"}},
        "reaction": {"mid": "m", "action": "react", "emoji": "x"},
        "delivery": {"mids": ["a"]},
        "read": {"mid": "a"},
    },
    "telegram": {
        "message": {
            **TELEGRAM,
            "contact": {"phone_number": "1", "first_name": "A"},
            "poll": {"question": "q", "options": [{"text": "a"}]},
            "reply_to_message": {"message_id": 4},
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", PLACES)
def test_an_event_of_any_form_is_read_or_refused_and_never_comes_again_and_again(
    workspace: Workspace, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = {"whatsapp": told_whatsapp, "messenger": told_on_page, "telegram": told_to_bot}[kind]
    crm = {
        "whatsapp": lambda: whatsapp(workspace),
        "messenger": lambda: workspace("messenger", ("token", "app_secret", "verify_token"), page_id="77"),
        "telegram": lambda: workspace("telegram", ("token", "webhook_secret")),
    }[kind]()
    with crm.channels.open("it") as channel:  # once, for it costs more than all the rest
        monkeypatch.setitem(globals(), "parsed", lambda _, request: channel.parse(request))
        for spot in spots(PLACES[kind]):
            for odd in ODD:
                with suppress(RequestRefused):
                    tell(crm, **replaced(PLACES[kind], spot, odd))


def spots(found: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return where each value within a value is."""
    inside = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for name, each in inside:
        yield (*above, name)
        yield from spots(each, (*above, name))


def replaced(found: Any, spot: tuple[Any, ...], value: Any) -> Any:
    copy = dict(found) if isinstance(found, dict) else list(found)
    first, *rest = spot
    copy[first] = replaced(copy[first], tuple(rest), value) if rest else value
    return copy
