"""An account of the channel "email": what is in its folders comes in, what leaves goes by its server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from crm_channel_email.compose import envelope_of
from crm_channel_email.idling import Listener, rest
from crm_channel_email.mailbox import Mailbox, NoFolder
from crm_channel_email.mime import Bounds, mail_of
from crm_channel_email.settings import EmailSettings
from crm_channel_email.smtp import Sender
from crm_core.errors import MessageRejected, TryLater
from crm_core.extend import Channel, ChannelAccount, IncomingMessage, OutgoingMessage, Receipt, Received, StatusReceipt

_PAGE: Final = 100
"""Mails of a poll at most."""
_OCTETS: Final = 8_000_000
"""Bytes of the mails of a poll, unless one alone has more: what a poll needs of memory."""


class EmailChannel(Channel):
    """One mailbox, and the server that it sends by."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: EmailSettings = account.settings
        self._mailbox = Mailbox(self._settings, account.directory)
        self._listener = Listener(self._settings, account.directory, self._mailbox)
        self._sender = Sender(self._settings, account.directory)
        self._bounds = Bounds(
            max_parts=self._settings.max_parts,
            max_depth=self._settings.max_depth,
            charset=self._settings.charset,
            own=self._settings.address,
        )

    def poll(self, cursor: str) -> Received:
        """Return the mails of all folders behind a cursor: of each folder its UIDVALIDITY and the last UID.

        Mails behind another UIDVALIDITY are read again from the first one; their ids are those that they had.
        """
        if not self._settings.imap_host:
            return Received(cursor=cursor)
        places, missing = _places(cursor), list[str]()
        messages, receipts = list[IncomingMessage](), list[StatusReceipt]()
        count, octets, more = _PAGE, _OCTETS, False
        for folder in self._settings.read_folders:
            sent = folder == self._settings.sent
            # What was sent comes when nothing is left that it may be the answer to.
            if count <= 0 or octets <= 0 or (sent and more):
                more = True
                break
            validity, last = places.get(folder, (0, 0))
            try:
                if not sent:
                    self._mailbox.settle(folder, validity, last)
                page = self._mailbox.read(folder, validity, last, count=count, octets=octets)
            except NoFolder:
                missing.append(folder)
                continue
            for each in page.mails:
                mail = mail_of(each.raw, self._bounds, arrived=each.arrived, size=each.size, sent=sent)
                messages.append(mail.message)
                receipts.extend(mail.receipts)
                count -= 1
                octets -= len(each.raw)
            places[folder] = (page.validity, page.reached)
            more = more or page.more
        trouble = self._missing(missing)
        if trouble and len(missing) == len(self._settings.read_folders):
            raise TryLater(trouble, delay=600)
        reached = json.dumps(places, ensure_ascii=False, sort_keys=True)
        return Received(messages=messages, receipts=receipts, cursor=reached, more=more, trouble=trouble)

    def listen(self, cursor: str, seconds: float, stopping: Callable[[], bool]) -> bool:
        """Have the server say when a mail comes to one of `folders` (IDLE); the folder of sent mails waits for polls.

        A server that knows no IDLE, or an account that does without, is silent for all the time.
        """
        if not self._settings.imap_host or not self._settings.idle:
            rest(seconds, stopping)
            return False
        return self._listener.wait(_places(cursor), seconds, stopping)

    def send(self, message: OutgoingMessage) -> Receipt:
        """Send a mail; it has the same Message-ID at every attempt, by which servers and readers know a repetition."""
        if not self._settings.smtp_host:
            raise MessageRejected("this account sends nothing", hint="smtp_host names the server that it sends by")
        self._sender.send(envelope_of(message, self._settings, datetime.now(UTC)))
        return Receipt()

    def check(self) -> str:
        """Log in at both servers and look at the folders; nothing is sent."""
        told = []
        if self._settings.imap_host:
            try:
                told.append(self._mailbox.check(self._settings.read_folders))
            except NoFolder as error:
                raise TryLater(self._missing([str(error)])) from None
        if self._settings.smtp_host:
            told.append(self._sender.check())
        return f"{self._settings.address} {' and '.join(told)}"

    def _missing(self, folders: Sequence[str]) -> str:
        """Say which folders are not there, and which are; empty if all are."""
        if not folders:
            return ""
        known = ", ".join(self._mailbox.names())
        return f"{self._mailbox.place} has no folder {', '.join(folders)}; folders there: {known}"

    def close(self) -> None:
        """Hang up."""
        self._listener.close()
        self._mailbox.close()
        self._sender.close()


def _places(cursor: str) -> dict[str, tuple[int, int]]:
    """Return of each folder its UIDVALIDITY and the last UID; nothing of a cursor that is none of ours."""
    try:
        found = json.loads(cursor or "{}")
        return {str(folder): (int(validity), int(last)) for folder, (validity, last) in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
