"""The accounts of channels that `crm.toml` declares, each opened behind a guard.

The guard keeps the contract for who calls: only errors of channels come through it, and none of them, nor what is
logged, shows a secret of the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import quote

import attrs

from crm_core.errors import ChannelError, CrmError, NotFound, SettingsError, TryLater
from crm_core.extend import (
    Channel,
    ChannelAccount,
    ChannelCapability,
    ChannelType,
    OutgoingMessage,
    Receipt,
    Received,
    WebhookRequest,
)
from crm_core.host import Host
from crm_core.settings import FILE_NAME, AccountSettings, Secret, Settings
from crm_core.settings.table import Table
from crm_core.settings.typed import typed_settings

T = TypeVar("T")
_PATIENCE: Final = 20.0
_SHORTEST: Final = 4
"""Characters of a secret that are taken out of messages at least: of a shorter one every word might hold some."""


@attrs.frozen(kw_only=True)
class AccountCheck:
    """What came of trying an account's settings: in words what was reached, or what is wrong and what to do."""

    account: str
    well: bool
    told: str
    hint: str = ""


class ChannelService:
    """The accounts under `[channels]`: `crm.channels.open("support")`."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host

    @property
    def accounts(self) -> Mapping[str, AccountSettings]:
        """The accounts that are declared, by name, in the order of the file; whether they can be opened or not."""
        return self._settings.channels

    @property
    def types(self) -> Mapping[str, ChannelType]:
        """The channels that plugins bring, by name."""
        found = [cast(ChannelType, each.item) for each in self._host.collect("register_channels")]
        return MappingProxyType({each.name: each for each in found})

    def account(self, name: str) -> AccountSettings:
        """Return what is declared of an account.

        Raises:
            NotFound: there is none of that name.
        """
        if name not in self.accounts:
            known = ", ".join(self.accounts) or "none"
            raise NotFound(
                f"{FILE_NAME} declares no account {name!r}", hint=f"[channels.{name}] declares it; there are: {known}"
            )
        return self.accounts[name]

    def type_of(self, name: str) -> ChannelType:
        """Return the channel of an account.

        Raises:
            NotFound: there is no such account.
            SettingsError: no plugin at work brings the channel.
        """
        account, types = self.account(name), self.types
        if account.type not in types:
            raise SettingsError(
                f"{FILE_NAME}: [channels.{name}]: no plugin at work brings the channel {account.type!r}",
                hint=f"channels at hand: {', '.join(sorted(types)) or 'none'}; crm plugins list shows the plugins",
            )
        return types[account.type]

    def open(self, name: str) -> OpenChannel:
        """Open an account; it is closed by `close` or at the end of a `with`.

        Raises:
            NotFound: there is no such account.
            SettingsError: its settings are not understood, or no plugin at work brings its channel.
            ChannelError: the channel cannot be opened.
        """
        kind = self.type_of(name)
        place = self._settings.file
        assert place is not None, "accounts are declared in a file"
        table = Table(place, f"channels.{name}", dict(self.account(name).options), secret=True)
        made: Any = typed_settings(kind.settings, table, self._settings.directory)
        account = ChannelAccount(name=name, settings=made, directory=self._settings.directory)
        return OpenChannel(account, kind)

    def check(self, names: Sequence[str] | None = None, *, seconds: float = _PATIENCE) -> list[AccountCheck]:
        """Try the settings of accounts, of all without names, without sending anything.

        They are tried side by side; one that has not answered in time counts as wrong and holds nobody up.

        Args:
            names: the accounts.
            seconds: how long each may take.
        """
        chosen = list(self.accounts if names is None else names)
        found: dict[str, AccountCheck] = {}

        def look(name: str) -> None:
            found[name] = self._checked(name)

        # Daemons: one that hangs in a network keeps no process alive.
        threads = [Thread(target=look, args=(name,), name=f"check of {name}", daemon=True) for name in chosen]
        for thread in threads:
            thread.start()
        ends = monotonic() + seconds
        for thread in threads:
            thread.join(max(ends - monotonic(), 0))
        late = f"no answer within {seconds:g} seconds"
        hint = "see its host, port and security, and the way to the server"
        answered = dict(found)
        return [answered.get(name) or AccountCheck(account=name, well=False, told=late, hint=hint) for name in chosen]

    def _checked(self, name: str) -> AccountCheck:
        try:
            with self.open(name) as channel:
                return AccountCheck(account=name, well=True, told=channel.check())
        except CrmError as error:
            return AccountCheck(account=name, well=False, told=error.message, hint=error.hint)
        except Exception as error:  # of a plugin's settings, say
            return AccountCheck(account=name, well=False, told=f"an unexpected {type(error).__name__}")


class OpenChannel:
    """A channel behind its guard: what it cannot do is refused, what it raises becomes an error of channels."""

    def __init__(self, account: ChannelAccount, kind: ChannelType) -> None:
        self.name = account.name
        self.type = kind
        self.settings = account.settings
        self._secrets = _secrets_of(account.settings)
        self._channel: Channel = self._guarded("opening", lambda: kind.open(account), Channel)  # type: ignore[type-abstract]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.type.name} account {self.name}>"

    def send(self, message: OutgoingMessage) -> Receipt:
        """Hand a message over to the service; see `Channel.send`."""
        self._require("send")
        return self._guarded("sending", lambda: self._channel.send(message), Receipt)

    def poll(self, cursor: str) -> Received:
        """Return what came in behind a cursor; see `Channel.poll`."""
        self._require("poll")
        return self._guarded("polling", lambda: self._channel.poll(cursor), Received)

    def listen(self, cursor: str, seconds: float, stopping: Callable[[], bool]) -> bool:
        """Wait until something may have come in behind a cursor; see `Channel.listen`."""
        self._require("listen")
        return self._guarded("listening", lambda: self._channel.listen(cursor, seconds, stopping), bool)

    def parse(self, request: WebhookRequest) -> Received:
        """Return what a request to the webhook brings; see `Channel.parse`."""
        self._require("webhook")
        return self._guarded("reading a request", lambda: self._channel.parse(request), Received)

    def check(self) -> str:
        """Try the settings without sending anything; returns in words what was reached."""
        return self.redacted(self._guarded("the check", self._channel.check, str))

    def close(self) -> None:
        """Give back connections; what goes wrong now is nobody's loss."""
        with suppress(Exception):
            self._channel.close()

    def redacted(self, text: str) -> str:
        """Return a text without the account's secrets."""
        for secret in self._secrets:
            with suppress(SettingsError):
                value = secret.reveal()
                for form in (value, quote(value, safe="")) if len(value) >= _SHORTEST else ():  # as it is, and in a URL
                    text = text.replace(form, "***")
        return text

    def _require(self, capability: ChannelCapability) -> None:
        if capability not in self.type.capabilities:
            known = ", ".join(sorted(self.type.capabilities))
            raise ChannelError(f"the channel {self.type.name!r} cannot {capability}", hint=f"it can: {known}")

    def _guarded(self, done: str, call: Callable[[], T], kind: type[T]) -> T:
        try:
            found = call()
        except ChannelError as error:
            raise self._clean(error) from None
        except SettingsError as error:
            raise self._clean(error) from None
        except Exception as error:
            text = " ".join(str(error).split()) or "no message"
            told = f"the account {self.name!r}: {done} failed by an unexpected {type(error).__name__}: {text}"
            raise TryLater(self.redacted(told)) from None
        if not isinstance(found, kind):
            raise ChannelError(
                f"the channel {self.type.name!r} returned {type(found).__name__}, expected {kind.__name__}",
                hint="a fault of its plugin: crm plugins list says whose it is",
            )
        return found

    def _clean(self, error: CrmError) -> CrmError:
        """Take the secrets out of an error: its message and its hint are what is shown."""
        error.message, error.hint = self.redacted(error.message), self.redacted(error.hint)
        error.args = (error.message,)
        return error


def _secrets_of(settings: Any) -> list[Secret]:
    values = [getattr(settings, field.name) for field in attrs.fields(type(settings))]
    return [each for each in values if isinstance(each, Secret)]


__all__ = ["AccountCheck", "ChannelService", "OpenChannel"]
