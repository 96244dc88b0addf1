"""Reports of mails that left: what becomes of a message, and of which one."""

from __future__ import annotations

import pytest

from crm_channel_email.mime import Bounds, Mail, mail_of

REPORT = """\
Return-Path: <>
From: MAILER-DAEMON@mx.example.net (Mail Delivery System)
To: desk@example.org
Subject: Undelivered Mail Returned to Sender
Date: Sun, 22 Nov 2026 10:00:00 +0000
Message-ID: <bounce@mx.example.net>
MIME-Version: 1.0
Content-Type: multipart/report; report-type={kind}; boundary=r

--r
Content-Type: text/plain; charset=utf-8

Your message could not be delivered.
--r
{status}
--r
Content-Type: {enclosed}

Received: from x
Message-ID: <m1@example.org>
Subject: an offer
{more}
--r--
"""
FAILED = """\
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; sara@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <sara@example.net>: no
    such user
"""


def report(status: str, *, kind: str = "delivery-status", enclosed: str = "message/rfc822", more: str = "") -> Mail:
    return mail_of(REPORT.format(kind=kind, status=status, enclosed=enclosed, more=more).encode(), Bounds())


@pytest.mark.parametrize("enclosed", ["message/rfc822", "text/rfc822-headers"])
def test_a_bounce_fails_the_message_with_the_reason(enclosed: str) -> None:
    mail = report(FAILED, enclosed=enclosed)
    (receipt,) = mail.receipts
    assert ("<m1@example.org>", "failed") == (receipt.message_id, receipt.status)
    assert "sara@example.net: 550 5.1.1 <sara@example.net>: no such user" == receipt.reason
    assert mail.message.at == receipt.at
    assert ("bounce", ("<m1@example.org>",)) == (mail.message.automatic, mail.message.replies_to)
    assert "Your message could not be delivered." == mail.message.text


def test_a_mail_that_went_to_several_failed_if_one_did() -> None:
    both = FAILED + "\nFinal-Recipient: rfc822; b@example.net\nAction: delivered\nStatus: 2.0.0\n"
    assert ["failed"] == [each.status for each in report(both).receipts]


@pytest.mark.parametrize(("action", "statuses"), [("delayed", []), ("relayed", []), ("delivered", ["delivered"])])
def test_what_is_delayed_or_delivered_did_not_bounce(action: str, statuses: list[str]) -> None:
    mail = report(FAILED.replace("failed", action))
    assert ("reply", statuses) == (mail.message.automatic, [each.status for each in mail.receipts])


@pytest.mark.parametrize(("mode", "statuses"), [("displayed", ["read"]), ("deleted", [])])
def test_a_read_receipt_says_read_only_if_it_was(mode: str, statuses: list[str]) -> None:
    told = f"Original-Message-ID: <m2@example.org>\nDisposition: manual-action/MDN-sent-manually; {mode}\n"
    mail = report(f"Content-Type: message/disposition-notification\n\n{told}", kind="disposition-notification")
    assert statuses == [each.status for each in mail.receipts]
    assert "reply" == mail.message.automatic
    assert ["<m2@example.org>"] * len(statuses) == [each.message_id for each in mail.receipts]


def test_a_complaint_is_no_bounce() -> None:
    status = "Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
    mail = report(status, kind="feedback-report")
    assert ("reply", ()) == (mail.message.automatic, mail.receipts)


def test_bounces_older_than_the_standard_are_known() -> None:
    text = "This message was created automatically.\n\nsara@example.net: unrouteable\n\n------ copy ------\n"
    head = "From: Mailer-Daemon@mx.example.net\nReturn-path: <>\nX-Failed-Recipients: sara@example.net\n\n"
    mail = mail_of(f"{head}{text}Message-ID: <m1@example.org>\nSubject: x\n".encode(), Bounds())
    assert [("<m1@example.org>", "failed", "sara@example.net")] == [
        (each.message_id, each.status, each.reason) for each in mail.receipts
    ]
    assert "bounce" == mail.message.automatic


def test_a_person_who_quotes_a_bounce_is_no_bounce() -> None:
    quoting = b"From: sara@example.org\nReturn-Path: <sara@example.org>\n\n> Message-ID: <m1@example.org>\n"
    assert ("", ()) == ((mail := mail_of(quoting, Bounds())).message.automatic, mail.receipts)
    inside = REPORT.format(kind="delivery-status", status=FAILED, enclosed="message/rfc822", more="")
    forwarded = (
        f"From: sara@example.org\nContent-Type: multipart/mixed; boundary=f\n\n--f\n\nlook\n--f\n"
        f"Content-Type: message/rfc822\n\n{inside}\n--f--\n"
    )
    assert ("", ()) == ((mail := mail_of(forwarded.encode(), Bounds())).message.automatic, mail.receipts)


def test_garbage_in_a_report_is_no_receipt() -> None:
    for status in ("Content-Type: message/delivery-status\n\n\x00\n", "Content-Type: message/delivery-status\n"):
        mail = report(status)
        assert () == mail.receipts
        assert "bounce" == mail.message.automatic
