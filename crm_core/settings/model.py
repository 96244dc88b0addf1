"""What the settings are: plain frozen data, and the policies of the kernel with their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import attrs

from crm_core.settings import checks

FILE_NAME: Final = "crm.toml"

FieldKind = Literal["text", "integer", "boolean", "decimal", "day", "moment", "money", "reference"]

_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Policy:
    """A definition the team may choose, shown in every result that depends on it."""

    default: Any
    expected: str
    example: str
    check: Callable[[Any], Any]


POLICIES: Final[Mapping[str, Policy]] = MappingProxyType(
    {
        "active_days": Policy(default=365, expected="days, 1 or more", example="active_days = 180", check=checks.days),
        "conversion_days": Policy(
            default=0,
            expected="days after the first contact in which a lead may convert, 0 for however late",
            example="conversion_days = 90",
            check=checks.count,
        ),
        "customer_unit": Policy(
            default="organisation",
            expected="organisation (people count as whom they work for) or customer (each counts alone)",
            example='customer_unit = "organisation"',
            check=checks.one_of("organisation", "customer"),
        ),
        "exchange_date": Policy(
            default="sale",
            expected="sale (the day of the sale) or as_of (the day of the question)",
            example='exchange_date = "sale"',
            check=checks.one_of("sale", "as_of"),
        ),
        "history_starts_on": Policy(
            default=None, expected="a day", example="history_starts_on = 2024-01-01", check=checks.day
        ),
        "history_months": Policy(
            default=3, expected="months, 0 or more", example="history_months = 3", check=checks.count
        ),
    }
)
"""What the kernel's metrics depend on and a team may choose, by its name under `[policies]`."""


def default_policies() -> Mapping[str, Any]:
    """Return every policy of the kernel with its default."""
    return MappingProxyType({name: policy.default for name, policy in POLICIES.items()})


@attrs.frozen(kw_only=True)
class OwnField:
    """A field that the team itself adds to a record type: `[fields.customer.sector]` of `crm.toml`."""

    name: str
    type: FieldKind
    label: str
    help: str = ""
    choices: tuple[str, ...] = ()
    max_length: int = 400
    scale: int = 2
    references: str = ""
    personal: bool = False
    indexed: bool = False
    was: str = ""


@attrs.frozen(kw_only=True)
class LedgerKey:
    """Where the key of the ledger's hash chain is kept, outside the database: a file, or an environment variable."""

    file: str = ""
    env: str = ""


@attrs.frozen(kw_only=True)
class AccountSettings:
    """One account of a channel: `[channels.support]` of `crm.toml`.

    Args:
        name: what the team calls it.
        type: the name of the channel.
        every: seconds between two polls.
        per_minute: messages that may leave in a minute; 0 for no limit.
        quiet_hours: from when until when, in the customer's time zone, nothing leaves by itself; may pass midnight.
        options: what the channel itself wants to know, as the file says it; may hold what is not to be shown.
    """

    name: str
    type: str
    every: float = 60.0
    per_minute: int = 0
    quiet_hours: tuple[time, time] | None = None
    options: Mapping[str, Any] = attrs.field(default=_EMPTY, repr=False)


@attrs.frozen(kw_only=True)
class Settings:
    """What a workspace says of itself. `storage_url` may hold a password, so it and its options never show in a `repr`.

    `rates` holds, by the day they apply from, the worth of one unit of a currency in the reporting currency.
    `plugins_enabled` None means every installed plugin; otherwise only those named run, and each of them must work.
    """

    directory: Path | None = None
    storage_url: str = attrs.field(repr=False)
    storage_options: Mapping[str, Any] = attrs.field(default=_EMPTY, repr=False)
    currency: str = "EUR"
    zone: ZoneInfo = attrs.field(factory=lambda: ZoneInfo("UTC"))
    calendar: str = "gregorian"
    reporting_currency: str | None = None
    rates: Mapping[date, Mapping[str, Decimal]] = MappingProxyType({})
    policies: Mapping[str, Any] = attrs.field(factory=lambda: default_policies())
    fields: Mapping[str, tuple[OwnField, ...]] = MappingProxyType({})
    pipelines: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    plugins_enabled: tuple[str, ...] | None = None
    plugins_disabled: tuple[str, ...] = ()
    plugins_order: tuple[str, ...] = ()
    plugins_paths: tuple[str, ...] = ()
    slow_after: float = 5.0
    ledger_key: LedgerKey | None = None
    user: str | None = None
    channels: Mapping[str, AccountSettings] = MappingProxyType({})

    @property
    def history_starts_on(self) -> date | None:
        """The policy of that name: a first purchase in the first months of the data may have had forerunners."""
        found: date | None = self.policies.get("history_starts_on")
        return found

    @property
    def file(self) -> Path | None:
        """Where the settings were read from; None when they were made from a URL alone."""
        return self.directory / FILE_NAME if self.directory else None
