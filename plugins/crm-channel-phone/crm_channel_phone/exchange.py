"""An Asterisk exchange as a channel: `crm calls listen` stays connected to it, and polls find the calls it left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from crm_channel_phone.calls import message_of
from crm_channel_phone.following import cursor_of, next_piece, places_of
from crm_channel_phone.journal import Journal, calls_in
from crm_channel_phone.manager import AmiSettings, Manager
from crm_core.errors import CredentialsWrong, TryLater
from crm_core.extend import Channel, ChannelAccount, IncomingMessage, Received

_PAGE: Final = 200
_STALE: Final = timedelta(seconds=60)


class Exchange(Channel):
    """One exchange. A number is a thread."""

    def __init__(self, account: ChannelAccount) -> None:
        self._settings: AmiSettings = account.settings
        self._journal = Journal(account.directory, account.name)

    def poll(self, cursor: str) -> Received:
        """Return the calls that the listener left; it says so when nobody listens, after what there is was read."""
        if not self._journal.path.exists():
            self._require_listening()
        places = places_of(cursor, self._journal.path)
        piece = next_piece(self._journal.path, places)
        if piece is None:
            self._require_listening()
            return Received(cursor=cursor_of(places))
        messages, used = list[IncomingMessage](), 0
        for call, end in calls_in(piece.content):
            used = end
            if call is not None:
                messages.append(message_of(call))
            if len(messages) == _PAGE:
                break
        return Received(messages=messages, cursor=cursor_of(piece.after(used)), more=True)

    def check(self) -> str:
        """Log in and out again."""
        with Manager(self._settings) as manager:
            manager.send("Logoff")
            return manager.version

    def _require_listening(self) -> None:
        state = self._journal.state()
        if state is None:
            raise TryLater("nobody listens to the exchange", delay=60, hint="crm calls listen does, until it is ended")
        if state.refused:
            raise CredentialsWrong(state.told)
        if not state.listening:
            raise TryLater(f"the exchange is not listened to: {state.told}", delay=60, hint="crm calls listen")
        if datetime.now(UTC) - state.at > _STALE:
            since = f"{state.at:%Y-%m-%d %H:%M} UTC"
            raise TryLater(f"nobody has listened to the exchange since {since}", delay=60, hint="crm calls listen")
