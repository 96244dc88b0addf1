"""The way in: folders of an IMAP server, read by UID from where the last reading ended, nothing marked or deleted."""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from crm_channel_email.oauth import Bearer
from crm_channel_email.settings import IMAP_PORTS, EmailSettings
from crm_core.errors import ChannelError, CredentialsWrong, TryLater

if TYPE_CHECKING:
    from imap_tools import BaseMailBox

_WINDOW: Final = 1_000
"""UIDs that are asked for at once; four times as many each time that there is none, for gaps may be of millions."""
_BEGINNING: Final = 262_144
"""Bytes that are read of a mail that is too large."""
_BATCH: Final = 500
_SEEN, _DELETED = r"(\Seen)", r"(\Deleted)"
_BUSY: Final = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]", "[CONTACTADMIN]", "[THROTTLED]")
_UID: Final = re.compile(rb"\bUID (\d+)")
_SIZE: Final = re.compile(rb"\bRFC822\.SIZE (\d+)")
_ARRIVED: Final = re.compile(rb"\bINTERNALDATE \"([^\"]{1,60})\"")


@attrs.frozen(kw_only=True)
class Found:
    """A mail in a folder: `raw` is its beginning only where `size` is larger."""

    uid: int
    size: int
    arrived: datetime | None
    raw: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Page:
    """What was found in a folder behind a UID: mails, the UID up to which it was read, and whether there is more."""

    validity: int
    reached: int
    mails: Sequence[Found] = ()
    more: bool = False


class NoFolder(Exception):
    """The server has no such folder."""


class Mailbox:
    """A mailbox; connected when it is first needed."""

    def __init__(self, settings: EmailSettings, directory: Path | None) -> None:
        self._settings = settings
        self._directory = directory
        self._bearer = Bearer(settings, directory)
        self._box: BaseMailBox | None = None

    @property
    def place(self) -> str:
        """Where the server is, for people."""
        return f"{self._settings.imap_host}:{self._settings.imap_port or IMAP_PORTS[self._settings.imap_security]}"

    def read(self, folder: str, validity: int, last: int, *, count: int, octets: int) -> Page:
        """Return the mails of a folder behind a UID: `count` at most, and as many as `octets` allow, one at least.

        A UID is worth nothing under another validity, nor where the server is about to give it once more: then the
        folder is read from its beginning.

        Raises:
            NoFolder: the server has no such folder.
            TryLater: the server is away, or does not do what it should.
            CredentialsWrong: the server does not let the account in.
        """
        with self.told(f"the folder {folder}"):
            box = self.open()
            validity_now, next_uid = self._select(box, folder, readonly=True)
            last = last if validity_now == validity and not _ran_back(box, last) else 0
            uids, reached = self._behind(box, last, next_uid, count)
            mails: list[Found] = []
            if uids:
                sized = self._sized(box, uids)
                chosen = _within(sized, min(octets, self._settings.max_bytes))
                mails = self._fetched(box, chosen)
                if len(chosen) < len(sized):
                    reached = chosen[-1].uid
            return Page(validity=validity_now, reached=reached, mails=mails, more=reached < next_uid - 1)

    def has_news(self, folder: str, validity: int, last: int) -> bool:
        """Open a folder; returns whether there may be mails in it behind a UID.

        Raises:
            NoFolder: the server has no such folder.
        """
        validity_now, next_uid = self._select(self.open(), folder, readonly=True)
        return validity_now != validity or next_uid - 1 > last or _ran_back(self.open(), last)

    def settle(self, folder: str, validity: int, last: int) -> None:
        """Do with mails that were taken in, up to a UID, what `afterwards` says; never with one that is too large."""
        done = self._settings.afterwards
        if done == "leave" or not last:
            return
        with self.told(f"the folder {folder}"):
            box = self.open()
            if self._select(box, folder, readonly=False)[0] != validity or _ran_back(box, last):
                return
            which = "UNSEEN" if done == "mark_read" else "UNDELETED"
            criteria = f"UID 1:{last} {which} SMALLER {self._settings.max_bytes + 1}{self._since()}"
            uids = box.uids(criteria, None)
            # What a server can do it may tell only to whom it let in.
            able = b" ".join(_done(box.client.capability())).upper().split() if uids else []
            for start in range(0, len(uids), _BATCH):
                some = ",".join(uids[start : start + _BATCH])
                _done(box.client.uid("STORE", some, "+FLAGS.SILENT", _SEEN if done == "mark_read" else _DELETED))
                # Without UIDPLUS only all that is deleted could go, also what others deleted and may want back.
                if done == "delete" and b"UIDPLUS" in able:
                    _done(box.client.uid("EXPUNGE", some))

    def check(self, folders: Sequence[str]) -> str:
        """Log in and look at the folders; returns in words what was reached."""
        with self.told("the mailbox"):
            box = self.open()
            told = []
            for folder in folders:
                self._select(box, folder, readonly=True)
                told.append(f"{folder} ({_number(box, 'EXISTS')} mails)")
        return f"reads {', '.join(told)} at {self.place} ({self._settings.imap_security})"

    def names(self) -> list[str]:
        """Return the names of the folders that the server has."""
        with self.told("the folders"):
            return [each.name for each in self.open().folder.list()]

    def close(self) -> None:
        """Hang up."""
        box, self._box = self._box, None
        if box is not None:
            with suppress(OSError, imaplib.IMAP4.error):
                box.client.logout()
            with suppress(OSError):
                box.client.shutdown()

    def open(self) -> BaseMailBox:
        """Return the connection, made when there is none."""
        if self._box is None:
            self._box = self._connected()
        return self._box

    def _connected(self) -> BaseMailBox:
        from imap_tools import MailBox, MailBoxStartTls, MailBoxUnencrypted

        settings = self._settings
        port = settings.imap_port or IMAP_PORTS[settings.imap_security]
        if settings.imap_security == "plain":
            box: BaseMailBox = MailBoxUnencrypted(settings.imap_host, port, timeout=settings.timeout)
        else:
            kind = MailBox if settings.imap_security == "tls" else MailBoxStartTls
            context = settings.context(self._directory)
            box = kind(settings.imap_host, port, timeout=settings.timeout, ssl_context=context)
        try:
            self._login(box)
        except BaseException:
            with suppress(OSError):
                box.client.shutdown()
            raise
        return box

    def _login(self, box: BaseMailBox) -> None:
        settings, client = self._settings, box.client
        try:
            if settings.by_token:
                self._login_by_token(client)
                return
            assert settings.password is not None, "the settings have a password or a token"
            password = settings.password.reveal()
            if "AUTH=PLAIN" in client.capabilities:
                box.login_utf8(settings.login, password, initial_folder=None)
            elif "LOGINDISABLED" in client.capabilities or not (settings.login + password).isascii():
                raise CredentialsWrong(
                    f"{self.place} takes no password in this way", hint='imap_security may have to be "tls"'
                )
            else:
                box.login(settings.login, password.replace("\r", "").replace("\n", ""), initial_folder=None)
        except imaplib.IMAP4.abort:
            raise
        except (imaplib.IMAP4.error, _tool_error()) as error:
            said = _words(error)
            if any(each in said.upper() for each in _BUSY):
                raise TryLater(f"{self.place} says: {said}") from None
            raise CredentialsWrong(
                f"{self.place} does not let {settings.login} in: {said}",
                hint="see user, password and token of the account",
            ) from None

    def _login_by_token(self, client: imaplib.IMAP4) -> None:
        def attempt(token: str) -> Exception | None:
            answer = f"user={self._settings.login}\1auth=Bearer {token}\1\1".encode()
            try:
                # What the server says of a token that is wrong is answered by nothing.
                client.authenticate("XOAUTH2", lambda said: b"" if said else answer)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as error:
                return imaplib.IMAP4.error(_words(error).replace(token, "***"))
            return None

        self._bearer.log_in(attempt)

    def _select(self, box: BaseMailBox, folder: str, *, readonly: bool) -> tuple[int, int]:
        """Open a folder; returns its UIDVALIDITY and the UID that the next mail will have."""
        from imap_tools.errors import MailboxFolderSelectError

        try:
            box.folder.set(folder, readonly=readonly)
        except MailboxFolderSelectError as error:
            if any(each in str(error).upper() for each in _BUSY):
                raise
            raise NoFolder(folder) from None
        next_uid = _number(box, "UIDNEXT")
        if not next_uid:  # a server may keep silent about it
            next_uid = max((int(each) for each in box.uids("UID *", None)), default=0) + 1
        return _number(box, "UIDVALIDITY"), next_uid

    def _behind(self, box: BaseMailBox, last: int, next_uid: int, most: int) -> tuple[list[int], int]:
        """Return UIDs behind the last one, and up to where that is all of them."""
        start, width = last + 1, _WINDOW
        while start < next_uid:
            end = min(start + width, next_uid) - 1
            found = sorted(int(each) for each in box.uids(f"UID {start}:{end}{self._since()}", None))
            found = [each for each in found if start <= each <= end]
            if found:
                return found[:most], found[most - 1] if len(found) > most else end
            start, width = end + 1, width * 4
        return [], max(last, next_uid - 1)

    def _since(self) -> str:
        if not self._settings.since:
            return ""
        day = date.fromisoformat(self._settings.since)
        month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][day.month - 1]
        return f" SINCE {day.day}-{month}-{day.year}"

    def _sized(self, box: BaseMailBox, uids: Sequence[int]) -> list[Found]:
        """Return sizes and times of arrival; of mails that are gone meanwhile nothing."""
        answers = _done(box.client.uid("FETCH", _set(uids), "(UID RFC822.SIZE INTERNALDATE)"))
        found = {}
        for each in answers:
            line = each[0] if isinstance(each, tuple) else each
            uid, size = _UID.search(line or b""), _SIZE.search(line or b"")
            if uid and size:
                found[int(uid[1])] = Found(uid=int(uid[1]), size=int(size[1]), arrived=_time(line), raw=b"")
        return [found[uid] for uid in uids if uid in found]

    def _fetched(self, box: BaseMailBox, chosen: Sequence[Found]) -> list[Found]:
        whole = [each.uid for each in chosen if each.size <= self._settings.max_bytes]
        large = [each.uid for each in chosen if each.size > self._settings.max_bytes]
        contents = self._contents(box, whole, "BODY.PEEK[]") if whole else {}
        contents |= self._contents(box, large, f"BODY.PEEK[]<0.{_BEGINNING}>") if large else {}
        return [
            attrs.evolve(each, raw=contents[each.uid], size=each.size if each.uid in large else len(contents[each.uid]))
            for each in chosen
            if each.uid in contents
        ]

    def _contents(self, box: BaseMailBox, uids: Sequence[int], part: str) -> dict[int, bytes]:
        answers = _done(box.client.uid("FETCH", _set(uids), f"(UID {part})"))
        found: dict[int, bytes] = {}
        for at, each in enumerate(answers):
            if not isinstance(each, tuple):
                continue
            behind = answers[at + 1] if at + 1 < len(answers) else b""
            behind = behind if isinstance(behind, bytes) else b""
            if uid := _UID.search(each[0]) or _UID.search(behind):
                found[int(uid[1])] = each[1]
        return found

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Tell what goes wrong inside in the words of a channel, and hang up."""
        try:
            yield
        except NoFolder:
            raise
        except ChannelError:
            self.close()
            raise
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise TryLater(
                f"{self.place}: its certificate is not to be trusted: {error.verify_message}",
                hint="imap_host must be the name in the certificate; ca_file names an authority of your own",
            ) from None
        except (OSError, imaplib.IMAP4.error, _tool_error()) as error:
            self.close()
            raise TryLater(f"{what} at {self.place} cannot be read: {_words(error)}") from None


def _within(mails: Sequence[Found], octets: int) -> list[Found]:
    """Return the first mails that have so many bytes together, one at least."""
    chosen: list[Found] = []
    for each in mails:
        octets -= min(each.size, _BEGINNING) if each.size > octets and chosen == [] else each.size
        if chosen and octets < 0:
            break
        chosen.append(each)
    return chosen


def _done(answer: Any) -> list[Any]:
    status, content = answer
    if status != "OK":
        raise imaplib.IMAP4.error(_words(content[0] if content else status))
    return [each for each in content if each is not None]


def _number(box: BaseMailBox, name: str) -> int:
    found = box.client.untagged_responses.get(name) or [b"0"]
    value = found[-1] or b"0"
    return int(value) if isinstance(value, bytes) and value.isdigit() else 0


def _ran_back(box: BaseMailBox, last: int) -> bool:
    """Whether an open folder counts from below a UID that it has given before, as one that was restored may do."""
    return 0 < _number(box, "UIDNEXT") <= last


def _set(uids: Sequence[int]) -> str:
    return ",".join(str(each) for each in uids)


def _time(line: bytes) -> datetime | None:
    found = _ARRIVED.search(line)
    if not found:
        return None
    try:
        return parsedate_to_datetime(found[1].decode("ascii").strip().replace("-", " ", 2)).astimezone(UTC)
    except (ValueError, TypeError):
        return None


def _words(error: object) -> str:
    text = error.decode("utf-8", "replace") if isinstance(error, bytes) else str(error)
    return " ".join(text.split())[:400] or type(error).__name__


def _tool_error() -> type[Exception]:
    from imap_tools.errors import ImapToolsError

    return ImapToolsError
