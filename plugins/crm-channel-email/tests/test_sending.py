"""Sending by a real SMTP server: what a mail looks like, and what the answers mean."""

from __future__ import annotations

import email
import re
import socket
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import default
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import pytest

from crm_core.errors import ChannelError, CredentialsWrong, MessageRejected, TryLater
from crm_core.extend import Address, Attachment, OutgoingMessage
from crm_core.settings import Secret
from tests.mail import PASSWORD, Post, free_port, post

from .conftest import Open


def message(to: str = "sara@example.org", *, name: str = "", **more: Any) -> OutgoingMessage:
    given = {"message_id": "<m1@desk.crm>", "subject": "پاسخ", "text": "سلام\nHello", **more}
    return OutgoingMessage(recipient=Address(kind="email", value=to, name=name), **given)


def sent(server: Post) -> EmailMessage:
    return email.message_from_bytes(bytes(server.taken[-1].content or b""), policy=default)  # type: ignore[return-value]


def raw(server: Post) -> bytes:
    return bytes(server.taken[-1].content or b"")


def test_a_mail_says_all_that_the_message_does(smtp: Post, account: Open, user: str) -> None:
    name, file = "سارا احمدیِ بسیار دوست‌داشتنی و نامی بسیار دراز برای یک آدم معمولی", "گزارش سال ۱۴۰۵.pdf"
    account(smtp_port=smtp.port, name="Desk, the").send(
        message(
            name=name,
            replies_to=("<2@x>", "<1@x>", "no id"),
            attachments=(
                Attachment(name=file, type="application/pdf", content=b"%PDF\x00\xff\r\n.\r\n"),
                Attachment(name="m.eml", type="message/rfc822", content=b"From: x"),
                Attachment(name="bad", type="text/plain\r\nBcc: y@z", content=b"x"),
            ),
        )
    )
    found, wire = sent(smtp), raw(smtp)
    given, address = parseaddr(email.message_from_bytes(wire)["To"])
    assert (name, "sara@example.org") == (str(make_header(decode_header(given))), address)
    assert ("Desk, the", user) == (found["From"].addresses[0].display_name, found["From"].addresses[0].addr_spec)
    assert ("پاسخ", "<m1@desk.crm>") == (found["Subject"], found["Message-ID"])
    assert ("<2@x>", "<1@x> <2@x>") == (found["In-Reply-To"], found["References"])
    assert None is found["Auto-Submitted"]
    body = found.get_body()
    assert body is not None
    assert "سلام\nHello\n" == body.get_content().replace("\r\n", "\n")
    assert [
        (file, "application/pdf", b"%PDF\x00\xff\r\n.\r\n"),
        ("m.eml", "application/octet-stream", b"From: x"),
        ("bad", "application/octet-stream", b"x"),
    ] == [(each.get_filename(), each.get_content_type(), each.get_content()) for each in found.iter_attachments()]
    assert wire.isascii()
    assert [] == [line for line in wire.split(b"\r\n") if len(line) > 200 or b"\n" in line]
    assert [] == [word for word in re.findall(rb"=\?[^ ]*\?=", wire) if len(word) > 75]


def test_a_repetition_is_the_same_mail(smtp: Post, account: Open) -> None:
    desk = account(smtp_port=smtp.port)
    desk.send(message())
    desk.send(message())
    assert ["<m1@desk.crm>"] * 2 == [
        email.message_from_bytes(bytes(each.content or b""))["Message-ID"] for each in smtp.taken
    ]


def test_what_no_person_wrote_says_so(smtp: Post, account: Open) -> None:
    desk = account(smtp_port=smtp.port)
    desk.send(message(automatic=True))
    assert "auto-generated" == sent(smtp)["Auto-Submitted"]
    desk.send(message(automatic=True, replies_to=("<1@x>",)))
    assert "auto-replied" == sent(smtp)["Auto-Submitted"]
    assert ["OOF, AutoReply"] == sent(smtp).get_all("X-Auto-Response-Suppress"), "a bounce is not to be suppressed"
    desk.send(message(automatic=True, headers={"X-Auto-Response-Suppress": "All"}))
    assert ["All"] == sent(smtp).get_all("X-Auto-Response-Suppress")
    desk.send(message())
    assert None is sent(smtp)["X-Auto-Response-Suppress"]


def test_one_click_to_unsubscribe_goes_along_whole(smtp: Post, account: Open) -> None:
    address = f"<https://example.org/u/{'k' * 300}>, <mailto:u@example.org>"
    one_click = {"List-Unsubscribe": address, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    account(smtp_port=smtp.port).send(message(headers={**one_click, "X-Note": "سلام"}))
    assert f"\r\nList-Unsubscribe: {address}\r\n".encode() in raw(smtp)
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw(smtp)
    assert "سلام" == sent(smtp)["X-Note"]
    del one_click["List-Unsubscribe"]
    with pytest.raises(MessageRejected, match="https"):
        account(smtp_port=smtp.port).send(message(headers=one_click))


INJECTIONS = ["a\r\nBcc: x@y.z", "a\nBcc: x@y.z", "a\rBcc: x", "a\x00b", "a\u2028b", "a\x85b"]


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_begins_a_header_of_its_own(smtp: Post, account: Open, text: str) -> None:
    desk = account(smtp_port=smtp.port)

    def go(**more: Any) -> None:
        desk.send(message(**more))

    # The values of the contract refuse most of it; what comes by another way the channel refuses itself.
    tries: list[dict[str, Any]] = [
        {"subject": text},
        {"name": text},
        {"to": f"{text}@example.org"},
        {"to": f"a@{text}.org"},
        {"message_id": f"<{text}@x>"},
        {"headers": {"X-A": text}},
        {"headers": {text: "a"}},
        {"replies_to": (f"<{text}@x>",)},
        {"attachments": (Attachment(name=text, content=b""),)},
    ]
    for each in tries:
        with pytest.raises((MessageRejected, ValueError)):
            go(**each)
    assert [] == smtp.taken


@pytest.mark.parametrize("text", INJECTIONS)
def test_nor_does_what_the_values_let_through(smtp: Post, account: Open, text: str) -> None:
    desk = account(smtp_port=smtp.port)
    for name, value in (
        ("subject", text),
        ("message_id", f"<{text}@x>"),
        ("headers", {"X-A": text}),
        ("headers", {text: "x"}),
        ("attachments", (Attachment(name=text, content=b""),)),
    ):
        made = message()
        object.__setattr__(made, name, value)
        with pytest.raises(MessageRejected):
            desk.send(made)
    made = message()
    object.__setattr__(made, "replies_to", (f"<{text}@x>",))
    desk.send(made)
    assert None is sent(smtp)["In-Reply-To"], "a reference that is none is left out"
    assert None is sent(smtp)["Bcc"]


@pytest.mark.parametrize("name", ["From", "bcc", "Content-Type", "Message-ID", "X A", "X:A", ""])
def test_headers_of_the_channel_itself_cannot_be_set(smtp: Post, account: Open, name: str) -> None:
    with pytest.raises(MessageRejected, match="cannot set the header"):
        account(smtp_port=smtp.port).send(message(headers={name: "x"}))


@pytest.mark.parametrize(
    ("to", "recipient"),
    [
        ("sara@example.org", "sara@example.org"),
        ("Sara+x@Example.ORG", "Sara+x@example.org"),
        ("sara@ایران.ir", "sara@xn--mgba3a4f16a.ir"),
        ("sara@straße.de", "sara@xn--strae-oqa.de"),
    ],
)
def test_domains_of_any_script_are_reached(smtp: Post, account: Open, to: str, recipient: str) -> None:
    account(smtp_port=smtp.port).send(message(to))
    assert ([recipient], ["SIZE"]) == (
        smtp.taken[-1].rcpt_tos,
        [o.partition("=")[0] for o in smtp.taken[-1].mail_options],
    )


def test_smtputf8_is_used_only_where_an_address_needs_it(account: Open) -> None:
    with post() as able:
        account(smtp_port=able.port).send(message("سارا@example.org", name="سارا"))
        assert "SMTPUTF8" in able.taken[-1].mail_options
        assert ["سارا@example.org"] == able.taken[-1].rcpt_tos
    with post(utf8=False) as unable, pytest.raises(MessageRejected, match="SMTPUTF8"):
        account(smtp_port=unable.port).send(message("سارا@example.org"))


@pytest.mark.parametrize("to", ["nobody", "@example.org", "a@", "a b@example.org", "a@b@c.org", "a@-", "a@x_y.org"])
def test_what_is_no_address_is_rejected(smtp: Post, account: Open, to: str) -> None:
    with pytest.raises(MessageRejected, match="no e-mail address"):
        account(smtp_port=smtp.port).send(message(to))


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("451 4.7.1 greylisted", TryLater),
        ("450 4.2.1 busy", TryLater),
        ("421 4.3.2 closing", TryLater),
        ("452 4.2.2 full", TryLater),
        ("550 5.1.1 no such user", MessageRejected),
        ("552 5.3.4 too large", MessageRejected),
        ("530 5.7.0 authentication required", CredentialsWrong),
    ],
)
def test_answers_mean_what_they_say(smtp: Post, account: Open, at: str, answer: str, error: type[ChannelError]) -> None:
    desk = account(smtp_port=smtp.port)
    smtp.answer, smtp.at = answer, at
    with pytest.raises(error, match=answer[4:]):
        desk.send(message())
    smtp.answer = ""
    before = len(smtp.taken)
    desk.send(message())
    assert before + 1 == len(smtp.taken), "the connection is good for the next one, or made again"


def test_logins(smtp: Post, account: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = account(smtp_port=smtp.port)
    assert f"sends by 127.0.0.1:{smtp.port} (plain)" in desk.check()
    assert [] == smtp.taken, "the check sends nothing"
    with pytest.raises(CredentialsWrong):
        account(smtp_port=smtp.port, smtp_login=False).send(message())
    for wrong in ("wrong", "رمز"):
        monkeypatch.setenv("MAIL_PASSWORD", wrong)
        with pytest.raises(CredentialsWrong):
            account(smtp_port=smtp.port).send(message())
    smtp.tokens.add("t0ken")
    monkeypatch.setenv("MAIL_TOKEN", "t0ken")
    account(smtp_port=smtp.port, password=None, token=Secret(env="MAIL_TOKEN")).send(message())
    assert f"user={desk._settings.address}\x01auth=Bearer t0ken\x01\x01" == smtp.tried[-1]
    monkeypatch.setenv("MAIL_TOKEN", "another")
    with pytest.raises(CredentialsWrong):
        account(smtp_port=smtp.port, password=None, token=Secret(env="MAIL_TOKEN")).send(message())
    with post(login=False) as relay:
        account(smtp_port=relay.port, smtp_login=False, password=None).send(message())
        with pytest.raises(CredentialsWrong, match="lets nobody log in"):
            account(smtp_port=relay.port).send(message())


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_encryption_proves_the_server(account: Open, certificate: tuple[Path, Path], security: str) -> None:
    with post(certificate=certificate, starttls=security == "starttls") as server:
        account(smtp_port=server.port, smtp_security=security, ca_file=str(certificate[0])).send(message())
        assert 1 == len(server.taken)
        with pytest.raises(TryLater, match="not to be trusted"):
            account(smtp_port=server.port, smtp_security=security).send(message())


def test_without_starttls_no_password_leaves(smtp: Post, account: Open) -> None:
    with pytest.raises(TryLater, match="does not offer STARTTLS"):
        account(smtp_port=smtp.port, smtp_security="starttls").send(message())


def test_a_server_that_is_away_or_mute_is_tried_later(account: Open) -> None:
    with pytest.raises(TryLater, match="cannot be reached"):
        account(smtp_port=free_port()).send(message())
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(TryLater):
        account(smtp_port=mute.getsockname()[1], timeout=0.3).send(message())


def test_an_account_that_only_reads_says_so(account: Open) -> None:
    with pytest.raises(MessageRejected, match="sends nothing"):
        account(imap_host="127.0.0.1").send(message())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "imap_host or smtp_host"),
        ({"smtp_host": "x", "address": "nobody"}, "must be an e-mail address"),
        ({"smtp_host": "x", "address": "a@b\r\nc"}, "must be an e-mail address"),
        ({"smtp_host": "x", "name": "a\r\nBcc: b"}, "one line"),
        ({"smtp_host": "x", "charset": "klingon"}, "must be a charset"),
        ({"imap_host": "x", "since": "yesterday"}, "must be a day"),
        ({"smtp_host": "x", "password": None}, "token or refresh_token must say"),
        ({"smtp_host": "x", "token": Secret(env="A")}, "exclude each other"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(account: Open, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        account(**settings)
    assert PASSWORD not in told
