"""THE CONTRACT ON ONE PAGE: every hook a plugin may implement, by family.

Each hook has a policy, declared here and enforced by the host:

- **collect** (`register_*`): called once, on first use; returns descriptors of the kind named. A failure marks the
  plugin broken.
- **derive** (`prepare_*`): inside the transaction, per chunk; returns `Derived` values, only of extensions the
  plugin owns.
- **veto** (`before_*`): inside the transaction, per chunk, pure; returns `Veto`es. Vetoed changes are refused, the
  others written.
- **deliver** (`on_*`): after commit, in ledger order, at least once. A failure is retried, then parked; it touches
  nobody else.
- **first** (`choose_*`): on demand; the first answer that is not None counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Literal, TypeVar

import attrs

from crm_core.events import (
    ContactKeyWanted,
    CustomersChanged,
    CustomersChanging,
    CustomersMerged,
    DealsChanged,
    DealsChanging,
    Derived,
    ExchangeRateWanted,
    InteractionsChanged,
    InteractionsChanging,
    SalesChanged,
    SalesChanging,
    Veto,
)
from crm_core.extend import (
    CalendarSystem,
    ChannelType,
    Command,
    DataMigration,
    Exporter,
    Importer,
    Job,
    Metric,
    Pipeline,
    ProfileSection,
    ReportSection,
    Segment,
    Service,
    StorageScheme,
    Topic,
)
from crm_core.records import Extension, Record

HOOK_API_VERSION = 1
"""Raised when an existing hook changes; a new hook or a new field of an event does not raise it."""

Policy = Literal["collect", "derive", "veto", "deliver", "first"]
F = TypeVar("F", bound=Callable[..., Any])


@attrs.frozen
class HookPolicy:
    """How the host calls a hook, and what each implementation returns one or more of."""

    policy: Policy
    returns: type | None


def _hook(policy: Policy, returns: type | None = None) -> Callable[[F], F]:
    def mark(function: F) -> F:
        function.__crm_hook__ = HookPolicy(policy, returns)  # type: ignore[attr-defined]
        return function

    return mark


class CustomerHooks:
    """Customers: who they are, how they are grouped, what a change of them sets off."""

    @_hook("collect", Segment)
    def register_segments(self) -> Iterable[Segment]:
        """Hand over segments, such as ABC analysis."""
        raise NotImplementedError

    @_hook("collect", ProfileSection)
    def register_profile_sections(self) -> Iterable[ProfileSection]:
        """Hand over sections of the 360 view, such as the products a customer bought."""
        raise NotImplementedError

    @_hook("derive", Derived)
    def prepare_customers(self, event: CustomersChanging) -> Iterable[Derived]:
        """Set fields that the plugin owns on customers about to be written."""
        raise NotImplementedError

    @_hook("veto", Veto)
    def before_customers_change(self, event: CustomersChanging) -> Iterable[Veto]:
        """Refuse changes of customers."""
        raise NotImplementedError

    @_hook("first")
    def choose_contact_key(self, event: ContactKeyWanted) -> str | None:
        """Say by which key an address or number is matched, when it is stored and when it is looked for; None: no say.

        The same text in the same country must always have the same key. Others' countries are not known: a key that is
        the same wherever it is asked for (E.164, say) is worth more than one that is short.
        """
        raise NotImplementedError

    @_hook("deliver")
    def on_customers_changed(self, event: CustomersChanged) -> None:
        """React to customers that were created, updated or deleted."""
        raise NotImplementedError

    @_hook("deliver")
    def on_customers_merged(self, event: CustomersMerged) -> None:
        """React to customers that became one, or were separated again: their points are summed, say."""
        raise NotImplementedError


class InteractionHooks:
    """Interactions: what is talked about, and what a new one sets off."""

    @_hook("collect", ChannelType)
    def register_channels(self) -> Iterable[ChannelType]:
        """Hand over channels, such as e-mail, whose accounts are declared under `[channels.<name>]` in `crm.toml`."""
        raise NotImplementedError

    @_hook("collect", Topic)
    def register_topics(self) -> Iterable[Topic]:
        """Hand over topics of interactions beside the kernel's (complaint, request, praise ...)."""
        raise NotImplementedError

    @_hook("veto", Veto)
    def before_interactions_change(self, event: InteractionsChanging) -> Iterable[Veto]:
        """Refuse changes of interactions."""
        raise NotImplementedError

    @_hook("deliver")
    def on_interactions_changed(self, event: InteractionsChanged) -> None:
        """React to interactions that were logged, edited or deleted."""
        raise NotImplementedError


class DealHooks:
    """Deals and sales: the pipelines they move through, and what a move or a sale sets off."""

    @_hook("collect", Pipeline)
    def register_pipelines(self) -> Iterable[Pipeline]:
        """Hand over pipelines with their stages."""
        raise NotImplementedError

    @_hook("veto", Veto)
    def before_deals_change(self, event: DealsChanging) -> Iterable[Veto]:
        """Refuse changes of deals, such as a win without an amount."""
        raise NotImplementedError

    @_hook("deliver")
    def on_deals_changed(self, event: DealsChanged) -> None:
        """React to deals that were opened, moved, edited or deleted."""
        raise NotImplementedError

    @_hook("veto", Veto)
    def before_sales_change(self, event: SalesChanging) -> Iterable[Veto]:
        """Refuse changes of sales."""
        raise NotImplementedError

    @_hook("deliver")
    def on_sales_changed(self, event: SalesChanged) -> None:
        """React to sales and refunds."""
        raise NotImplementedError


class MetricHooks:
    """Metrics: the numbers, the calendars they are counted in, the rates they are converted by, the report."""

    @_hook("collect", Metric)
    def register_metrics(self) -> Iterable[Metric]:
        """Hand over metrics."""
        raise NotImplementedError

    @_hook("collect", CalendarSystem)
    def register_calendars(self) -> Iterable[CalendarSystem]:
        """Hand over calendars, such as the Persian solar one, to be named by `calendar` in `crm.toml`."""
        raise NotImplementedError

    @_hook("first")
    def choose_exchange_rate(self, event: ExchangeRateWanted) -> Decimal | None:
        """Say how many units of `quote` one unit of `base` is worth on that day; None leaves it to the next."""
        raise NotImplementedError

    @_hook("collect", ReportSection)
    def register_report_sections(self) -> Iterable[ReportSection]:
        """Hand over sections of `crm report`."""
        raise NotImplementedError


class StorageHooks:
    """Storage: where records are kept, and what records there are."""

    @_hook("collect", StorageScheme)
    def register_storages(self) -> Iterable[StorageScheme]:
        """Hand over storages by the URL schemes they serve."""
        raise NotImplementedError

    @_hook("collect", type)
    def register_record_types(self) -> Iterable[type[Record]]:
        """Hand over record types of the plugin's own, declared with `@record`."""
        raise NotImplementedError

    @_hook("collect", type)
    def register_fields(self) -> Iterable[type[Extension]]:
        """Hand over typed fields on the kernel's records, declared with `@extension`."""
        raise NotImplementedError

    @_hook("collect", DataMigration)
    def register_data_migrations(self) -> Iterable[DataMigration]:
        """Hand over changes of stored values from one version of the plugin to the next."""
        raise NotImplementedError


class AppHooks:
    """The application: commands of `crm`, work that goes on by itself, formats of files that come in and go out."""

    @_hook("collect", Command)
    def register_commands(self) -> Iterable[Command]:
        """Hand over commands of `crm`, by the place of their code, so that listing them imports nothing."""
        raise NotImplementedError

    @_hook("collect", Job)
    def register_jobs(self) -> Iterable[Job]:
        """Hand over work that `crm run` does again and again, such as polling and sending."""
        raise NotImplementedError

    @_hook("collect", Service)
    def register_services(self) -> Iterable[Service]:
        """Hand over what other plugins may use, such as the outbox: `crm.service("outbox")`."""
        raise NotImplementedError

    @_hook("collect", Importer)
    def register_importers(self) -> Iterable[Importer]:
        """Hand over formats that `crm import` reads."""
        raise NotImplementedError

    @_hook("collect", Exporter)
    def register_exporters(self) -> Iterable[Exporter]:
        """Hand over formats that `crm export` writes."""
        raise NotImplementedError


FAMILIES: dict[str, type] = {
    "customer": CustomerHooks,
    "interaction": InteractionHooks,
    "deal": DealHooks,
    "metric": MetricHooks,
    "storage": StorageHooks,
    "app": AppHooks,
}
