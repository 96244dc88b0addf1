"""From a mailbox to the timeline and back: with crm-inbox, over kills."""

from __future__ import annotations

import email
import imaplib
import subprocess
import sys
from collections.abc import Iterator
from email import policy
from pathlib import Path
from time import time

import pytest

from crm_core import CRM, Consent, Customer
from crm_core.extend import JobRun
from crm_core.records import ContactPoint
from crm_inbox import (
    InboxAttachment,
    InboxMessage,
    InboxState,
    Mailing,
    MessageTemplate,
    OutboxMessage,
    send,
    send_to_many,
)
from crm_inbox.polling import poll_account
from crm_inbox.sending import send_account
from tests.mail import PASSWORD, Dovecot, Post

from .test_bounces import FAILED, REPORT

pytestmark = pytest.mark.database("sqlite")
MAILS = 300
KILLED = """
import os, sys
from crm_core import CRM
from crm_core.extend import JobRun
from crm_inbox.polling import poll_account
left = int(sys.argv[2])
with CRM.open(sys.argv[1]) as crm:
    commit = crm.storage.commit
    def maybe(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return commit(*args, **kwargs)
    crm.storage.commit = maybe
    poll_account(JobRun(crm=crm, part="desk", stopping=lambda: False))
"""


@pytest.fixture
def place(tmp_path: Path, imap: Dovecot, smtp: Post, user: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose one account, `desk`, is a mailbox of the Dovecot."""
    monkeypatch.setenv("MAIL_PASSWORD", PASSWORD)
    settings = '[crm]\ncurrency = "EUR"\n[storage]\nurl = "sqlite:///crm.db"\n[channels.desk]\ntype = "email"\n'
    settings += f'address = "{user}"\npassword = {{env = "MAIL_PASSWORD"}}\n'
    for name, port in (("imap", imap.port), ("smtp", smtp.port)):
        settings += f'{name}_host = "127.0.0.1"\n{name}_port = {port}\n{name}_security = "plain"\n'
    (tmp_path / "crm.toml").write_text(settings, "utf-8")
    return tmp_path


@pytest.fixture
def crm(place: Path) -> Iterator[CRM]:
    with CRM.open(place) as opened:
        yield opened


def run(crm: CRM) -> JobRun:
    return JobRun(crm=crm, part="desk", stopping=lambda: False)


def test_killed_while_polling_it_loses_and_doubles_nothing(place: Path, imap: Dovecot, user: str) -> None:
    for number in range(MAILS):
        head = f"From: s{number % 7}@example.org\r\nMessage-ID: <{number}@x.org>\r\nSubject: mail {number}\r\n"
        body = (
            f"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext {number}\r\n--b\r\n"
        )
        file = f"Content-Disposition: attachment; filename=a.txt\r\n\r\nfile {number % 3}\r\n--b--\r\n"
        imap.deliver(user, (head + body + file).encode())
    codes = []
    for commits in (2, 4, 100_000):  # in the middle of a page, behind its end, never
        command = [sys.executable, "-c", KILLED, str(place), str(commits)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode in (0, 9), done.stderr
        codes.append(done.returncode)
    assert [9, 9, 0] == codes
    with CRM.open(place) as crm:
        found = crm.interactions.find('direction = "in"', limit=None)
        assert MAILS == len(found)
        assert {f"mail {number}" for number in range(MAILS)} == {one.subject for one in found}
        assert {f"text {number}" for number in range(MAILS)} == {one.body for one in found}
        assert MAILS == crm.records(InboxMessage).count() == crm.records(InboxAttachment).count()
        assert 7 == crm.customers.count()


def test_a_message_that_bounces_is_failed_and_its_report_is_in_its_thread(
    crm: CRM, imap: Dovecot, smtp: Post, user: str
) -> None:
    sara = crm.customers.add(Customer(name="سارا"), email="sara@example.net")
    queued = send(crm, "سلام", customer=sara.id, subject="پیشنهاد", account="desk")
    send_account(run(crm))
    assert 1 == len(smtp.taken)
    bounce = REPORT.format(kind="delivery-status", status=FAILED, enclosed="message/rfc822", more="")
    imap.deliver(user, bounce.replace("<m1@example.org>", queued.message_id).encode())
    poll_account(run(crm))
    (message,) = crm.records(OutboxMessage).find()
    assert "failed" == message.status
    assert "the service says: sara@example.net: 550 5.1.1 <sara@example.net>: no such user" == message.reason
    (came,) = crm.interactions.find('direction = "in"')
    assert (message.interaction_id, False) == (came.in_reply_to_id, came.needs_answer)
    assert 1 == crm.customers.count(), "a postman is no lead"


def test_a_reply_finds_its_thread(crm: CRM, imap: Dovecot, smtp: Post, user: str) -> None:
    sara = crm.customers.add(Customer(name="سارا"), email="sara@ایران.ir")
    queued = send(crm, "سلام", customer=sara.id, subject="پیشنهاد", account="desk")
    send_account(run(crm))
    assert ["sara@xn--mgba3a4f16a.ir"] == smtp.taken[0].rcpt_tos
    head = f"From: Sara <sara@xn--mgba3a4f16a.ir>\r\nMessage-ID: <r@x.org>\r\nIn-Reply-To: {queued.message_id}\r\n"
    imap.deliver(user, f"{head}Subject: Re\r\n\r\nyes\r\n".encode())
    poll_account(run(crm))
    (went,) = crm.interactions.find('direction = "out"')
    (came,) = crm.interactions.find('direction = "in"')
    assert (sara.id, went.id, went.thread) == (came.customer_id, came.in_reply_to_id, came.thread)
    assert came.needs_answer


def test_an_answer_from_a_mail_program_is_in_the_conversation_and_settles_it(
    crm: CRM, imap: Dovecot, smtp: Post, user: str, place: Path
) -> None:
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('sent = "Sent"\nafterwards = "delete"\n')
    sara = crm.customers.add(Customer(name="سارا"), email="sara@example.net")
    ours = send(crm, "From the outbox", customer=sara.id, account="desk")
    send_account(run(crm))
    mails = [
        f"From: {user}\r\nTo: Sara <sara@example.net>\r\nMessage-ID: <a@x.org>\r\nIn-Reply-To: <q@x.org>\r\n"
        "Date: Mon, 1 Jan 2035 00:00:00 +0000\r\nReferences: <q@x.org>\r\n\r\nBy hand\r\n",
        f"From: {user}\r\nTo: sara@example.net\r\nMessage-ID: {ours.message_id}\r\n\r\nFrom the outbox\r\n",
        f"From: {user}\r\nTo: new@example.net\r\nMessage-ID: <n@x.org>\r\n\r\nTo a stranger\r\n",
        f"From: {user}\r\nMessage-ID: <nobody@x.org>\r\n\r\nTo nobody\r\n",
    ]
    with imaplib.IMAP4("127.0.0.1", imap.port, 30) as client:
        client.login(user, PASSWORD)
        client.create("Sent")
        for each in mails:
            client.append("Sent", "", imaplib.Time2Internaldate(time()), each.encode())
    imap.deliver(user, b"From: sara@example.net\r\nMessage-ID: <q@x.org>\r\nSubject: Q\r\n\r\nWhere is it?\r\n")
    with CRM.open(place) as again:
        poll_account(run(again))
        (asked,) = again.interactions.find('direction = "in"')
        went = {one.body: one for one in again.interactions.find('direction = "out"')}
        assert {"From the outbox", "By hand", "To a stranger", "To nobody"} == set(went)
        answer = went["By hand"]
        assert (sara.id, asked.id, asked.thread) == (answer.customer_id, answer.in_reply_to_id, answer.thread)
        assert (False, True) == (asked.needs_answer, asked.answered_at is not None)
        assert [None, None] == [went[each].customer_id for each in ("To a stranger", "To nobody")]
        assert 1 == again.customers.count(), "whom we write to is no lead"
        assert not any(one.needs_answer for one in went.values())
        poll_account(run(again))
        assert 5 == again.interactions.count()
    with imaplib.IMAP4("127.0.0.1", imap.port, 30) as client:
        client.login(user, PASSWORD)
        assert [b"4"] == client.select("Sent", readonly=True)[1], "what we wrote stays in its folder"


@pytest.mark.parametrize("former", ["X-Microsoft-Original-Message-ID", "X-Google-Original-Message-ID"])
def test_a_mail_of_ours_whose_id_its_server_replaced_comes_once_and_its_answers_find_it(
    crm: CRM, imap: Dovecot, smtp: Post, user: str, place: Path, former: str
) -> None:
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('sent = "Sent"\n')
    sara = crm.customers.add(Customer(name="سارا"), email="sara@example.net")
    ours = send(crm, "From the outbox", customer=sara.id, account="desk")
    send_account(run(crm))
    head = f"From: {user}\r\nTo: sara@example.net\r\n"
    mails = [
        f"{head}Message-ID: <1@outlook.example>\r\n{former}:\r\n {ours.message_id}\r\n\r\nFrom the outbox\r\n",
        f"{head}Message-ID: <2@outlook.example>\r\n{former}: <by-hand@x.org>\r\n\r\nBy hand\r\n",
    ]
    with imaplib.IMAP4("127.0.0.1", imap.port, 30) as client:
        client.login(user, PASSWORD)
        client.create("Sent")
        for each in mails:
            client.append("Sent", "", imaplib.Time2Internaldate(time()), each.encode())
    with CRM.open(place) as again:
        assert "1 new" == poll_account(run(again)).told
        went = {one.body: one for one in again.interactions.find('direction = "out"')}
        assert {"From the outbox", "By hand"} == set(went)
        for number in (1, 2):
            answer = f"From: sara@example.net\r\nMessage-ID: <a{number}@x.org>\r\nSubject: {number}\r\n"
            imap.deliver(user, f"{answer}In-Reply-To: <{number}@outlook.example>\r\n\r\nyes\r\n".encode())
        poll_account(run(again))
        answers = again.interactions.find('direction = "in"', sort="subject")
        assert [went["From the outbox"].id, went["By hand"].id] == [each.in_reply_to_id for each in answers]
        assert [went["From the outbox"].thread, went["By hand"].thread] == [each.thread for each in answers]


def test_a_mail_to_several_is_on_the_card_of_each_who_is_known_and_nobody_is_guessed(
    crm: CRM, imap: Dovecot, user: str, place: Path
) -> None:
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('sent = "Sent"\n')
    people = {name: crm.customers.add(Customer(name=name), email=f"{name}@example.net").id for name in ("sara", "ali")}
    for name in ("bob", "eve"):
        people[name] = crm.customers.add(Customer(name=name), email="office@example.net").id
    crm.contact_points.add(ContactPoint(customer_id=people["ali"], kind="email", value="home@example.net"))
    crm.contact_points.add(ContactPoint(customer_id=people["sara"], kind="email", value="home@example.net"))
    to = f"To: {user}, home@example.net, Sara <SARA@example.net>\r\nCc: stranger@example.net, Ali <ali@example.net>\r\n"
    to += "Bcc: office@example.net, sara@example.net\r\n"
    mail = f"From: {user}\r\n{to}Message-ID: <s@x.org>\r\nSubject: Price\r\n"
    mail += 'Content-Type: application/pdf; name="a.pdf"\r\n\r\n%PDF'
    with imaplib.IMAP4("127.0.0.1", imap.port, 30) as client:
        client.login(user, PASSWORD)
        client.create("Sent")
        client.append("Sent", "", imaplib.Time2Internaldate(time()), f"{mail}\r\n".encode())
    with CRM.open(place) as again:
        assert "1 new" == poll_account(run(again)).told
        went = list(again.interactions.find(sort="id"))
        assert [people["sara"], people["ali"], None] == [each.customer_id for each in went]
        assert {("Price", "out", went[0].thread)} == {(each.subject, each.direction, each.thread) for each in went}
        notes = [(each.sender_value, each.sender) for each in again.records(InboxMessage).find(sort="id")]
        wanted = [("SARA@example.net", "known"), ("ali@example.net", "known"), ("office@example.net", "ambiguous")]
        assert wanted == notes
        assert 3 == again.records(InboxAttachment).count("digest is not null")
        assert 4 == again.customers.count(), "whom we write to is no lead"
        state = again.records(InboxState).find()[0]
        again.records(InboxState).edit(state.evolve(cursor=""))
        assert "" == poll_account(run(again)).told
        assert 3 == again.interactions.count(), "read again it is known"
        imap.deliver(user, b"From: ali@example.net\r\nMessage-ID: <r@x.org>\r\nIn-Reply-To: <s@x.org>\r\n\r\nyes\r\n")
        poll_account(run(again))
        (answer,) = again.interactions.find('direction = "in"')
        assert (people["ali"], went[1].id) == (answer.customer_id, answer.in_reply_to_id)


def test_bulk_mail_leaves_with_one_click_and_both_forms_of_its_text(
    place: Path, smtp: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAVE_SECRET", "a long enough secret")
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('[channels.leave]\ntype = "unsubscribe"\nurl = "https://crm.example.org/hooks/leave"\n')
        settings.write('secret = {env = "LEAVE_SECRET"}\n')
    with CRM.open(place) as crm:
        sara = crm.customers.add(Customer(name="سارا", language="fa"), email="sara@example.net")
        (point,) = crm.customers.contact_points(sara.id)
        crm.records(Consent).add(
            Consent(contact_point_id=point.id, purpose="marketing", status="granted", at=crm.clock.now())
        )
        body, html = "سلام {{ customer.name }}", "<p>سلام {{ customer.name }} <a href='{{ unsubscribe_url }}'>x</a></p>"
        crm.records(MessageTemplate).add(
            MessageTemplate(name="news", language="fa", subject="خبر", body=body, html=html)
        )
        send_to_many(crm, Mailing(template="news", key="k"), [sara.id])
        send_account(run(crm))
    (taken,) = smtp.taken
    mail = email.message_from_bytes(bytes(taken.content or b""), policy=policy.default)
    assert ("خبر", "List-Unsubscribe=One-Click") == (mail["Subject"], mail["List-Unsubscribe-Post"])
    assert mail["List-Unsubscribe"].startswith("<https://crm.example.org/hooks/leave?u=")
    plain, rich = (mail.get_body([kind]) for kind in ("plain", "html"))  # type: ignore[attr-defined]
    assert "multipart/alternative" == mail.get_content_type()
    assert "سلام سارا" == plain.get_content().strip()
    assert 'dir="rtl"' in rich.get_content()
    assert mail["List-Unsubscribe"].strip("<>") in rich.get_content()
