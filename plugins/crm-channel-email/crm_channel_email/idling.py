"""IDLE (RFC 2177): servers that were asked to say when something changes, and waiting for the first one that does."""

from __future__ import annotations

import imaplib
import re
import select
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from crm_channel_email.mailbox import Mailbox, NoFolder
from crm_channel_email.settings import EmailSettings

if TYPE_CHECKING:
    from imap_tools import BaseMailBox

LONGEST: Final = 1_500.0
"""Seconds after which a server has to be asked anew: it may hang up after 30 minutes, RFC 2177 says 29."""
_LOOK: Final = 0.5
"""Seconds between two looks at whether it is time to stop."""
_CAME: Final = re.compile(rb"\* \d+ EXISTS\b", re.IGNORECASE)


class Idle:
    """A folder that is open at a server which was asked to say when something changes there."""

    def __init__(self, box: BaseMailBox) -> None:
        self._box = box
        box.idle.start()  # type: ignore[no-untyped-call]

    @property
    def socket(self) -> int:
        """The file descriptor on which it will say so."""
        return self._box.client.sock.fileno()

    def has_spoken(self, *, readable: bool) -> bool:
        """Whether it said something; what was read ahead is seen by no selector.

        Raises:
            ConnectionResetError: it hung up.
        """
        client = self._box.client
        before = client.sock.gettimeout()
        client.sock.settimeout(0)
        try:
            spoken = bool(client.file.peek(1))  # type: ignore[union-attr]  # it is a BufferedReader
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            client.sock.settimeout(before)
        if readable and not spoken:
            raise ConnectionResetError("it hung up")
        return spoken

    def end(self) -> bool:
        """Ask it to be quiet; returns whether a mail may have come, or only a sign of life did.

        Raises:
            OSError: it does not answer.
        """
        _, lines = self._box.idle.stop()  # type: ignore[no-untyped-call]
        return any(_CAME.match(each) for each in lines if isinstance(each, bytes))


class Listener:
    """The folders of an account that are listened to, each by a connection of its own: the first by the mailbox's."""

    def __init__(self, settings: EmailSettings, directory: Path | None, first: Mailbox) -> None:
        self._folders = settings.folders
        self._boxes = [first, *(Mailbox(settings, directory) for _ in self._folders[1:])]

    def wait(self, places: Mapping[str, tuple[int, int]], seconds: float, stopping: Callable[[], bool]) -> bool:
        """Wait until a mail is behind one of the places (UIDVALIDITY and UID); whether one is, or the time is over.

        Raises:
            TryLater: a server is away, or hangs up.
            CredentialsWrong: it does not let the account in.
        """
        ends = monotonic() + seconds
        try:
            with self._boxes[0].told("what is new"):
                while (left := ends - monotonic()) > 0 and not stopping():
                    if self._came(places, min(left, LONGEST), stopping):
                        return True
            return False
        except BaseException:  # a connection that a server is not asked to be quiet on is of no use any more
            self.close()
            raise

    def close(self) -> None:
        """Hang up, but for the connection of the mailbox."""
        for each in self._boxes[1:]:
            each.close()

    def _came(self, places: Mapping[str, tuple[int, int]], seconds: float, stopping: Callable[[], bool]) -> bool:
        idles = list[Idle]()
        for folder, box in zip(self._folders, self._boxes, strict=True):
            with suppress(NoFolder):  # which the next poll tells
                if box.has_news(folder, *places.get(folder, (0, 0))):
                    _end(idles)
                    return True
                if can_idle(box.open().client):
                    idles.append(Idle(box.open()))
        _wait_for(idles, seconds, stopping)
        return _end(idles)


def rest(seconds: float, stopping: Callable[[], bool]) -> None:
    """Wait for so many seconds, or until it is to stop."""
    ends = monotonic() + seconds
    while not stopping() and (left := ends - monotonic()) > 0:
        sleep(min(left, _LOOK))


def can_idle(client: imaplib.IMAP4) -> bool:
    """Whether a server that let us in offers IDLE."""
    answered, told = client.capability()
    return answered == "OK" and b"IDLE" in b" ".join(each for each in told if isinstance(each, bytes)).upper().split()


def _wait_for(idles: Sequence[Idle], seconds: float, stopping: Callable[[], bool]) -> None:
    """Wait until one of several servers says something, the time is over, or it is to stop."""
    ends = monotonic() + seconds
    readable = set[int]()
    poller = select.poll()
    for each in idles:
        poller.register(each.socket, select.POLLIN)
    while not any(each.has_spoken(readable=each.socket in readable) for each in idles):
        left = ends - monotonic()
        if left <= 0 or stopping():
            return
        readable = {descriptor for descriptor, _ in poller.poll(min(left, _LOOK) * 1_000)}


def _end(idles: Sequence[Idle]) -> bool:
    """Ask all to be quiet; whether a mail may have come."""
    came = [each.end() for each in idles]
    return any(came)
