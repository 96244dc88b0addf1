"""The listener of one exchange: it stays connected, and leaves each call that is over in the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event
from time import monotonic
from typing import Final
from zoneinfo import ZoneInfo

from crm_channel_phone.calls import Call, Numbering
from crm_channel_phone.journal import Journal, State
from crm_channel_phone.manager import AmiSettings, Manager
from crm_channel_phone.packets import Packet
from crm_channel_phone.tracking import Tracker
from crm_core.errors import CredentialsWrong, CrmError, TryLater

PAUSES: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before each further attempt to connect."""
_REFUSED: Final = 600.0
"""Seconds after wrong credentials: an exchange locks out who tries too often."""
_TELLS: Final = 10.0

log = logging.getLogger(__name__)


class Listener:
    """Listens to one exchange until it is stopped; no fault of the exchange ends it.

    Args:
        name: the account.
        settings: its settings.
        journal: where calls are left.
        redacted: takes secrets out of a text.
        pauses: seconds before each further attempt to connect.
        quiet: seconds of silence after which the exchange is asked whether it is there.
    """

    def __init__(
        self,
        name: str,
        settings: AmiSettings,
        journal: Journal,
        redacted: Callable[[str], str],
        *,
        pauses: Sequence[float] = PAUSES,
        quiet: float = 30.0,
    ) -> None:
        self._name = name
        self._settings = settings
        self._journal = journal
        self._redacted = redacted
        self._pauses = pauses
        self._quiet = quiet
        self._tracker = Tracker(numbering_of(settings), ZoneInfo(settings.zone))
        self._attempts = 0
        self._asked = ""
        """The id of the question what is under way, until it is answered."""
        self._present = set[str]()

    def run(self, stopped: Event) -> None:
        """Listen until `stopped` is set."""
        self._journal.make()
        while not stopped.is_set():
            try:
                self._session(stopped)
            except Exception as error:  # whatever it is, the next attempt begins anew
                pause = _REFUSED if isinstance(error, CredentialsWrong) else self._pause()
                told = (
                    error.message if isinstance(error, CrmError) else f"an unexpected {type(error).__name__}: {error}"
                )
                self._tell(told, refused=isinstance(error, CredentialsWrong))
                log.warning("%s: %s; again in %.0f seconds", self._name, self._redacted(told), pause)
                stopped.wait(pause)
        self._tell("the listener was ended")

    def _pause(self) -> float:
        self._attempts += 1
        return self._pauses[min(self._attempts, len(self._pauses)) - 1]

    def _session(self, stopped: Event) -> None:
        with Manager(self._settings, quiet=self._quiet) as manager:
            self._attempts = 0
            self._asked, self._present = manager.send("CoreShowChannels"), set[str]()
            self._tell(f"listening to {manager.version}", listening=True)
            told = monotonic()
            for packet in manager.packets():
                at = _time(packet)
                if packet is None:
                    self._keep(self._tracker.tick(at))
                else:
                    self._take(packet, at)
                if monotonic() - told > _TELLS:
                    self._tell(f"listening to {manager.version}", listening=True)
                    told = monotonic()
                if stopped.is_set():
                    return

    def _take(self, packet: Packet, at: datetime) -> None:
        """Take an event, or the answer to what is under way, which tells what ended while nobody listened."""
        name = packet.get("event", "").casefold()
        if self._asked and packet.get("actionid") == self._asked:
            if name == "coreshowchannel":
                self._present.add(packet.get("uniqueid", ""))
            elif name or packet.get("response", "").casefold() == "error":
                self._keep(self._tracker.only(self._present, at))
                self._asked, self._present = "", set()
                return
        if name == "shutdown":
            raise TryLater("the exchange is shutting down")
        if name == "newchannel" and self._asked:
            self._present.add(packet.get("uniqueid", ""))
        self._keep(self._tracker.feed(packet, at))

    def _keep(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._journal.add(call)

    def _tell(self, told: str, *, listening: bool = False, refused: bool = False) -> None:
        state = State(told=self._redacted(told), at=datetime.now(UTC), listening=listening, refused=refused)
        try:
            self._journal.note(state)
        except OSError as error:
            log.error("%s: how it fares cannot be written: %s", self._name, error)


def numbering_of(settings: AmiSettings) -> Numbering:
    """Return which side is ours, as the settings say."""
    return Numbering(
        extension_digits=settings.extension_digits,
        own=settings.own,
        inbound=settings.inbound,
        outbound=settings.outbound,
        outside=settings.outside,
    )


def _time(packet: Packet | None) -> datetime:
    """Return when an event was: as it says (`timestampevents` of manager.conf), else now."""
    now = datetime.now(UTC)
    try:
        at = datetime.fromtimestamp(float((packet or {}).get("timestamp", "")), UTC)
    except (ValueError, OverflowError, OSError):
        return now
    return at if abs((at - now).total_seconds()) < 86_400 else now
