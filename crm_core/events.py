"""What hooks receive: one frozen event per hook, carrying a batch, so that a new field never breaks a signature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import attrs

from crm_core.records import Customer, Deal, Interaction, Record, Sale

if TYPE_CHECKING:
    from datetime import date

R = TypeVar("R", bound=Record)
OriginKind = Literal["user", "rule", "import", "undo", "merge", "channel"]
Action = Literal["created", "updated", "deleted"]


@attrs.frozen(kw_only=True)
class Origin:
    """Who or what caused a change: its kind, the user, the operation, and those that led to it, oldest first."""

    kind: OriginKind = "user"
    user_id: int | None = None
    operation_id: int = 0
    causes: tuple[int, ...] = ()


@attrs.frozen
class Change(Generic[R]):
    """One record about to be written: `before` is None for a new one, `after` is None for a delete."""

    before: R | None
    after: R | None

    @property
    def record(self) -> R:
        """The record as it will be, or as it was before a delete."""
        found = self.after if self.after is not None else self.before
        assert found is not None, "a change has a record on one side at least"
        return found


@attrs.frozen
class ChangedRecord(Generic[R]):
    """One record that was written: `record` is its state now, None when it is gone.

    `fields` are (old, new) of an update. `before` is a deleted record as it was; None when it was erased since.
    """

    id: int
    action: Action
    record: R | None
    fields: Mapping[str, tuple[Any, Any]]
    before: R | None = None


@attrs.frozen
class Veto:
    """A refusal of one change: `index` counts in `event.changes`, `field` may be empty, `reason` is for a person."""

    index: int
    field: str
    reason: str


@attrs.frozen
class Derived:
    """Values a `prepare_*` hook sets on one change: `values` is an extension of the plugin's own."""

    index: int
    values: Any


@attrs.frozen(kw_only=True)
class Changing(Generic[R]):
    """A chunk of changes inside its transaction."""

    changes: tuple[Change[R], ...]
    origin: Origin


@attrs.frozen(kw_only=True)
class Changed(Generic[R]):
    """A chunk of changes after commit, in ledger order; delivered at least once.

    `crm` is the open CRM, to write what follows.
    """

    changes: tuple[ChangedRecord[R], ...]
    origin: Origin
    position: int
    at: datetime
    crm: Any = attrs.field(default=None, eq=False, repr=False)


@attrs.frozen
class MergedPair:
    """Two customers that became one: `gone` is part of `kept` now."""

    kept: int
    gone: int


@attrs.frozen(kw_only=True)
class CustomersMerged:
    """Customers were merged, after commit; delivered at least once. Records that point at them have followed already.

    `undone` says that the merge was taken back: `gone` is there again, with what was its own. Who sums over customers
    computes both anew, either way.
    """

    pairs: tuple[MergedPair, ...]
    undone: bool
    origin: Origin
    position: int
    at: datetime
    crm: Any = attrs.field(default=None, eq=False, repr=False)


CustomersChanging = Changing[Customer]
CustomersChanged = Changed[Customer]
InteractionsChanging = Changing[Interaction]
InteractionsChanged = Changed[Interaction]
DealsChanging = Changing[Deal]
DealsChanged = Changed[Deal]
SalesChanging = Changing[Sale]
SalesChanged = Changed[Sale]


@attrs.frozen(kw_only=True)
class ExchangeRateWanted:
    """Asks for the rate that turns one unit of `base` into `quote` on a day."""

    base: str
    quote: str
    on: date


@attrs.frozen(kw_only=True)
class ContactKeyWanted:
    """Asks for the key by which one address or number is matched; `key` is the kernel's own, made of its text alone.

    `kind` is that of a contact point, `value` the text as given, `country` what the customer's record says of the
    country (a code or a name, None when unknown). `policies` are those of `crm.toml`: a plugin's own table among them.
    """

    kind: str
    value: str
    key: str
    country: str | None
    policies: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class ProfileWanted:
    """Asks for sections of a customer's 360 view; `crm` is the open CRM."""

    crm: Any
    customer: Customer


__all__ = [
    "Action",
    "Change",
    "Changed",
    "ChangedRecord",
    "Changing",
    "ContactKeyWanted",
    "CustomersChanged",
    "CustomersChanging",
    "CustomersMerged",
    "DealsChanged",
    "DealsChanging",
    "Derived",
    "ExchangeRateWanted",
    "InteractionsChanged",
    "InteractionsChanging",
    "MergedPair",
    "Origin",
    "OriginKind",
    "ProfileWanted",
    "SalesChanged",
    "SalesChanging",
    "Veto",
]
