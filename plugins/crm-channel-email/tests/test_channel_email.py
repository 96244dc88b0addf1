"""The channel under the conformance kit, with a real Dovecot and a real SMTP server at the other side."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, formataddr
from pathlib import Path
from typing import Any

import pytest

from crm_core.errors import CredentialsWrong, MessageRejected, TryLater
from crm_core.extend import IncomingMessage, Receipt, Received
from crm_core.testing import ChannelContract, ChannelFault, OpenChannel, PluginContract
from tests.mail import PASSWORD, Dovecot, Post

from .test_bounces import FAILED, REPORT


class TestThePlugin(PluginContract):
    package = "crm_channel_email"


class TestTheChannel(ChannelContract):
    channel = "email"
    secret = PASSWORD

    @pytest.fixture(autouse=True)
    def servers(self, imap: Dovecot, smtp: Post, user: str) -> None:
        self.imap, self.smtp, self.user = imap, smtp, user

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {
            "address": self.user,
            "name": "Desk",
            "password": secret,
            "imap_host": "127.0.0.1",
            "imap_port": self.imap.port,
            "imap_security": "plain",
            "smtp_host": "127.0.0.1",
            "smtp_port": self.smtp.port,
            "smtp_security": "plain",
        }

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        self.imap.deliver(self.user, mail_from(message))

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        self.imap.deliver(self.user, content)

    def arrived(self, place: Path) -> list[str]:
        mails = [message_from_bytes(bytes(each.content or b"")) for each in self.smtp.taken]
        return [str(each["Message-ID"]) for each in mails]

    def arrived_texts(self, place: Path) -> list[str]:
        mails = [message_from_bytes(bytes(each.content or b""), policy=SMTP) for each in self.smtp.taken]
        bodies = [each.get_body(("plain",)) for each in mails]
        return ["" if body is None else str(body.get_content()) for body in bodies]

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        report = REPORT.replace("<m1@example.org>", message_id)
        status = FAILED.replace("failed", "delivered")
        report = report.format(kind="delivery-status", status=status, enclosed="message/rfc822", more="")
        self.imap.deliver(self.user, report.encode())
        return channel.poll("")

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        def answer(text: str) -> None:
            self.smtp.answer = text

        def forget() -> None:
            os.environ["CRM_TESTED_SECRET"] = "not the password"

        return [
            ChannelFault(error=TryLater, make=lambda: answer("451 4.7.1 come back later"), call="send"),
            ChannelFault(error=MessageRejected, make=lambda: answer("550 5.1.1 no such user"), call="send"),
            ChannelFault(error=CredentialsWrong, make=forget, call="send"),
            ChannelFault(error=CredentialsWrong, make=forget, call="poll"),
            ChannelFault(error=CredentialsWrong, make=forget, call="check"),
        ]


def mail_from(message: IncomingMessage) -> bytes:
    """A mail as a good mailer writes it."""
    mail = EmailMessage(policy=SMTP)
    mail["Message-ID"] = message.external_id
    mail["From"] = formataddr((message.sender.name, message.sender.value))
    mail["To"] = "desk@example.org"
    assert message.at is not None
    mail["Date"] = format_datetime(message.at)
    mail["Subject"] = message.subject
    mail.set_content(message.text)
    for each in message.attachments:
        main, sub = each.type.split("/")
        mail.add_attachment(each.content, maintype=main, subtype=sub, filename=each.name)
    return bytes(mail)
