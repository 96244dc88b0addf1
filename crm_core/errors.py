"""Every error the kernel raises, as one tree by cause.

The class says what went wrong, the message says where, `hint` what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType


class CrmError(Exception):
    """The base of every expected failure; `hint` names the next step, `exit_code` is what the CLI ends with.

    `details` is what a program may want beside the words: the file and row, say. `--json` prints it with the error.
    """

    exit_code = 1
    details: Mapping[str, object] = MappingProxyType({})

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CrmError):
    """The call itself is wrong: an unknown field in a filter, an option out of range, a missing key."""

    exit_code = 2


class SettingsError(UsageError):
    """`crm.toml` cannot be read or says something the CRM does not understand."""


class InvalidValue(CrmError, ValueError):
    """A value breaks a rule of its field: `field`, `value` and `rule` say which."""

    def __init__(self, message: str, *, field: str = "", value: object = None, rule: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field
        self.value = value
        self.rule = rule


class NotFound(CrmError, LookupError):
    """Nothing matches the reference that was given."""


class AmbiguousReference(CrmError, LookupError):
    """Several records match a reference typed by a person; `candidates` are their ids."""

    def __init__(self, message: str, *, candidates: Sequence[int] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.candidates = tuple(candidates)


class ConflictError(CrmError):
    """A stale write: the record changed since it was read."""


class DuplicateKey(CrmError):
    """A unique value (an external id, an e-mail of a user) is already taken; `table` and `columns` say where."""

    def __init__(self, message: str, *, table: str = "", columns: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.table = table
        self.columns = tuple(columns)


class StillReferenced(CrmError):
    """A delete is refused because other records point at the record."""


class Vetoed(CrmError):
    """A `before_*` hook refused the change; `reasons` are (plugin, field, reason)."""

    def __init__(self, message: str, *, reasons: Sequence[tuple[str, str, str]] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reasons = tuple(reasons)


class UndoRefused(CrmError):
    """Nothing of an operation can be taken back; the message says why."""


class TamperedLedger(CrmError):
    """The hash chain over the ledger does not hold: something in it was changed after it was written."""


class PluginError(CrmError):
    """A plugin cannot be loaded, breaks the contract, or failed in a hook."""

    def __init__(self, message: str, *, plugin: str = "", hook: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.plugin = plugin
        self.hook = hook


class PluginMissing(PluginError):
    """A plugin that the settings or a command name is not installed."""


class PluginCollision(PluginError):
    """Two plugins claim the same name; the message names both distributions and versions."""


class StorageError(CrmError):
    """The storage cannot do what was asked of it."""


class UnknownStorage(StorageError):
    """No installed plugin serves the scheme of a storage URL."""

    exit_code = 2


class NotADatabase(StorageError):
    """The file exists and is not a database of this kind."""


class NewerDatabase(StorageError):
    """The database was written by a newer version; this one refuses to write to it."""


class UpgradeNeeded(StorageError):
    """The database is older than the declarations: `crm storage upgrade` brings it up to date."""


class StorageLocked(StorageError):
    """Another process holds the database for longer than the time-out."""


class StorageConflict(StorageError):
    """The database ended this transaction in favour of another one (deadlock, serialization): nothing of it was kept.

    The whole of it may be tried again, and a lone write of a service is, by itself.
    """


class NumberTooLarge(StorageError):
    """A number is beyond 64 bits: one that was to be stored, or a sum; every storage says it in the same words."""

    def __init__(self) -> None:
        super().__init__(
            "a number that was given or computed is beyond 64 bits",
            hint="check the value against its field's type; of a sum, take fewer records or a shorter period",
        )


class StorageFull(StorageError):
    """The disk is full; the transaction at hand was rolled back."""


class ChannelError(CrmError):
    """A channel could not do what was asked of it; the subclasses say what to do about it."""


class TryLater(ChannelError):
    """The service is away or asks for patience; `delay` is the number of seconds it asks for, None when it does not."""

    def __init__(self, message: str, *, delay: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.delay = delay


class MessageRejected(ChannelError):
    """The service will never take this message: no such recipient, a text too long; trying again is of no use.

    `unsubscribed` says that it takes none for this recipient, who told it so: consent is then withdrawn here too.
    """

    def __init__(self, message: str, *, unsubscribed: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.unsubscribed = unsubscribed


class CredentialsWrong(ChannelError):
    """The service does not know the account or its secret; nothing goes on until a person puts that right."""


class RequestRefused(ChannelError):
    """A request to a webhook is not taken: unsigned, forged, replayed, or not what the service sends."""
