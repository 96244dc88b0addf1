"""The bureau's own rules, as plain functions: `crm.toml` names this file, no distribution and no manifest is needed.

The functions inside a transaction (`before_*`) only judge; those after it (`on_*`) may write, through `event.crm`. A
delivery may come twice, after a crash say, so each of these first looks whether its work is done already.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from crm_core import Interaction, hookimpl
from crm_core.events import (
    CustomersChanged,
    CustomersChanging,
    DealsChanged,
    DealsChanging,
    ExchangeRateWanted,
    InteractionsChanged,
    InteractionsChanging,
    SalesChanging,
    Veto,
)
from crm_core.extend import Pipeline, Stage, Topic
from crm_core.values import format_id

BOOKS_CLOSED_ON = date(2024, 12, 31)
"""The accountant has closed the books up to this day."""

EUROS = {
    date(2025, 1, 1): {"EUR": Decimal(1), "AMD": Decimal("0.0024"), "USD": Decimal("0.96")},
    date(2025, 7, 1): {"EUR": Decimal(1), "AMD": Decimal("0.0022"), "USD": Decimal("0.85")},
}
"""What one unit of a currency is worth in euros, by the day from which that holds."""


# What the bureau adds to the vocabulary.


@hookimpl
def register_topics() -> list[Topic]:
    """A translation that comes back to be done again is neither a complaint nor a request."""
    return [Topic(name="rework", label="Rework")]


@hookimpl
def register_pipelines() -> list[Pipeline]:
    """Yearly agreements are renewed in a pipeline of their own, so that they do not mix into the win rate of orders."""
    return [
        Pipeline(
            name="agreements",
            label="Yearly agreements",
            stages=(
                Stage(name="due", label="Due", probability=Decimal("0.7")),
                Stage(name="renewed", label="Renewed", kind="won", probability=Decimal(1)),
                Stage(name="ended", label="Ended", kind="lost"),
            ),
            on_won="nothing",
        )
    ]


@hookimpl
def choose_exchange_rate(event: ExchangeRateWanted) -> Decimal | None:
    """Answer from the bureau's own table; None leaves the question to the next who may know."""
    known = [day for day in EUROS if day <= event.on]
    rates = EUROS[max(known)] if known else {}
    if event.base not in rates or event.quote not in rates:
        return None
    return rates[event.base] / rates[event.quote]


# What the bureau refuses.


@hookimpl
def before_customers_change(event: CustomersChanging) -> Iterator[Veto]:
    """An organisation is billed by its sector, so it has one."""
    for index, change in enumerate(event.changes):
        customer = change.after
        if customer is not None and customer.kind == "organisation" and not customer.fields.get("sector"):
            yield Veto(index, "fields.sector", "an organisation needs a sector")


@hookimpl
def before_interactions_change(event: InteractionsChanging) -> Iterator[Veto]:
    """A complaint that says nothing helps nobody."""
    for index, change in enumerate(event.changes):
        said = change.after
        if said is not None and said.topic in ("complaint", "rework") and not (said.subject or said.body):
            yield Veto(index, "body", f"a {said.topic} says what is wrong")


@hookimpl
def before_deals_change(event: DealsChanging) -> Iterator[Veto]:
    """No order without a price."""
    for index, change in enumerate(event.changes):
        deal = change.after
        if deal is not None and deal.pipeline == "orders" and deal.status == "won" and deal.amount is None:
            yield Veto(index, "amount", "an order is won with its amount")


@hookimpl
def before_sales_change(event: SalesChanging) -> Iterator[Veto]:
    """What the accountant has closed stays as it is."""
    for index, change in enumerate(event.changes):
        days = [_day(sale.sold_at) for sale in (change.before, change.after) if sale is not None and sale.sold_at]
        if any(day <= BOOKS_CLOSED_ON for day in days):
            yield Veto(index, "sold_at", f"the books are closed up to {BOOKS_CLOSED_ON}")


# What follows from what happened.


@hookimpl
def on_customers_changed(event: CustomersChanged) -> None:
    """A customer's new owner takes over the open deals; closed ones keep who worked on them."""
    for change in event.changes:
        if change.record is None or "owner_id" not in change.fields:
            continue
        owner = change.record.owner_id
        deals = event.crm.deals.find(f'customer_id = "{format_id(change.id)}" and status = "open"', limit=None)
        event.crm.deals.edit_many(deal.evolve(owner_id=owner) for deal in deals if deal.owner_id != owner)


@hookimpl
def on_interactions_changed(event: InteractionsChanged) -> None:
    """A complaint becomes the customer's next step, due the day after."""
    for change in event.changes:
        said = change.record
        if change.action != "created" or said is None or said.customer_id is None or said.topic != "complaint":
            continue
        customer = event.crm.customers.get(said.customer_id)
        step = f"Answer the complaint: {said.subject or said.body}"
        if customer.next_step != step:
            due = event.at.astimezone(event.crm.zone).date() + timedelta(days=1)
            event.crm.customers.edit(customer.evolve(next_step=step, next_step_on=due))


@hookimpl
def on_deals_changed(event: DealsChanged) -> None:
    """An order that was won is followed up: a note to ask how the translation was received."""
    for change in event.changes:
        deal = change.record
        if deal is None or deal.status != "won" or "status" not in change.fields:
            continue
        thread = f"follow-up:{format_id(deal.id)}"
        if event.crm.interactions.count(f'thread = "{thread}"') == 0:
            event.crm.interactions.add(
                Interaction(
                    customer_id=deal.customer_id,
                    deal_id=deal.id,
                    direction="internal",
                    topic="feedback",
                    thread=thread,
                    subject=f"Ask how {deal.title} was received",
                )
            )


def _day(moment: datetime | date) -> date:
    return moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment
