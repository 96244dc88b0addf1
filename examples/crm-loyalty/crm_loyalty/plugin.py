"""What crm-loyalty hands over, derives and reacts to; the modules behind are imported when a hook is first called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crm_core import Record, hookimpl
from crm_core.events import CustomersChanging, CustomersMerged, Derived, SalesChanged
from crm_core.extend import Command, DataMigration, Metric, ProfileSection, ReportSection, Segment
from crm_core.records import Extension


class LoyaltyPlugin:
    """Points for sales, spent first in first out, and tiers by balance."""

    @hookimpl
    def register_fields(self) -> Iterable[type[Extension]]:
        """Add points and tier to customers."""
        from crm_loyalty.records import Loyalty

        return [Loyalty]

    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        """Add the entries that a balance is made of."""
        from crm_loyalty.records import LoyaltyEntry

        return [LoyaltyEntry]

    @hookimpl
    def register_data_migrations(self) -> Iterable[DataMigration]:
        """Carry over what earlier versions stored."""
        from crm_loyalty.migrations import MIGRATIONS

        return MIGRATIONS

    @hookimpl
    def prepare_customers(self, event: CustomersChanging) -> Iterator[Derived]:
        """Set the tier that the balance makes."""
        from crm_loyalty.records import Loyalty, tier_of

        for index, change in enumerate(event.changes):
            held = change.record.ext(Loyalty)
            if held.points is not None and held.tier != tier_of(held.points):
                yield Derived(index, Loyalty(points=held.points, tier=tier_of(held.points)))

    @hookimpl(include=("import", "undo", "merge"))
    def on_sales_changed(self, event: SalesChanged) -> None:
        """Give points for sales, also for imported ones, and take those of refunds and undone sales back."""
        from crm_loyalty.accounts import settle

        settle(event.crm, event.changes, event.at)

    @hookimpl
    def on_customers_merged(self, event: CustomersMerged) -> None:
        """Sum the points of customers who became one; the entries have followed by their declaration."""
        from crm_loyalty.accounts import rebalance

        rebalance(event.crm, [customer for pair in event.pairs for customer in (pair.kept, pair.gone)])

    @hookimpl
    def register_metrics(self) -> Iterable[Metric]:
        """Add the points that are out, and the part of them that comes back."""
        from crm_loyalty.metrics import METRICS

        return METRICS

    @hookimpl
    def register_segments(self) -> Iterable[Segment]:
        """Add the tiers."""
        from crm_loyalty.segments import TIERS_SEGMENT

        return [TIERS_SEGMENT]

    @hookimpl
    def register_profile_sections(self) -> Iterable[ProfileSection]:
        """Add a customer's lots to the 360 view."""
        from crm_loyalty.sections import PROFILE

        return [PROFILE]

    @hookimpl
    def register_report_sections(self) -> Iterable[ReportSection]:
        """Add the tiers to the report."""
        from crm_loyalty.sections import REPORT

        return [REPORT]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add `crm loyalty`."""
        return [
            Command(
                name="loyalty",
                help="Points of customers: balance and redemption.",
                target="crm_loyalty.commands:loyalty",
            )
        ]


plugin = LoyaltyPlugin()
