"""The definitions that a team chooses and every number depends on: what counts as a customer, as active, as a lead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final, Literal

import attrs

LEAD_ROLE: Final = "customer"
"""Suppliers, partners and mere contacts are no leads."""
WORKS_FOR: Final = ("works for", "works_for")
"""The kinds of relation that make a person count as the organisation."""
CHURNED: Final = ("churned",)
WON_BACK: Final = ("won back", "won_back")


@attrs.frozen(kw_only=True)
class Policies:
    """The policies of one workspace, from `[policies]` of `crm.toml`.

    `active_days` after the last sale a customer is no longer active. `conversion_days` after the first contact a lead
    no longer counts as converted by that contact (0: however late). `history_months` from the start of the data (or
    from `history_starts_on`) a first purchase may have had forerunners.
    """

    customer_unit: Literal["organisation", "customer"] = "organisation"
    lead: str = "first contact known; no supplier, partner or mere contact"
    active_days: int = 365
    conversion_days: int = 0
    exchange_date: Literal["sale", "as_of"] = "sale"
    history_starts_on: date | None = None
    history_months: int = 3

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Policies:
        """Read the policies of the settings; those not set keep their defaults."""
        known = {field.name for field in attrs.fields(cls)} - {"lead"}
        return cls(**{name: value for name, value in settings.items() if name in known})

    def shown(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the named policies as plain JSON data."""
        found = {name: getattr(self, name) for name in names}
        if "history_starts_on" in found:
            day = self.history_starts_on
            found["history_starts_on"] = day.isoformat() if day else "first date in the data"
        return found
