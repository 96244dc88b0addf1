"""The kernel's own records: customers, interactions, deals, sales and the people at work."""

from __future__ import annotations

from datetime import date, datetime

from crm_core.records.declare import (
    Record,
    boolean,
    day,
    integer,
    moment,
    money,
    record,
    reference,
    tags,
    text,
)
from crm_core.values import Money

When = datetime | date

CONTACT_KINDS = ("email", "phone", "whatsapp", "telegram", "viber", "instagram", "messenger", "web", "postal")
TOPICS = ("complaint", "request", "praise", "wish", "suggestion", "feedback", "question", "order", "other")


@record("team", label="Team")
class Team(Record):
    """A group of people at work."""

    name: str = text("Name", key=True)


@record("user", label="User")
class User(Record):
    """A person at work: who owns customers and deals."""

    name: str = text("Name", key=True, personal=True)
    email: str | None = text("E-mail", default=None, personal=True, unique=True)
    team_id: int | None = reference("team", "Team", default=None)
    manager_id: int | None = reference("user", "Manager", default=None)
    active: bool = boolean("Active", default=True)


@record("customer", label="Customer", indexes=[("first_contact_at",)])
class Customer(Record):
    """A person or an organisation that buys, may buy, or bought."""

    name: str | None = text("Name", default=None, key=True, searched=True, personal=True)
    kind: str = text("Kind", default="person", choices=("person", "organisation"))
    role: str = text(
        "Role",
        default="customer",
        choices=("customer", "supplier", "partner", "contact"),
        help="Suppliers, partners and mere contacts are never counted as leads.",
    )
    owner_id: int | None = reference("user", "Owner", default=None)
    source: str | None = text("Source", default=None, indexed=True, help="Where the customer came from (marketing).")
    tags: tuple[str, ...] = tags("Tags", default=(), personal=True)
    first_contact_at: When | None = moment("First contact", default=None)
    birth_date: date | None = day("Birth date", default=None, personal=True)
    language: str | None = text("Language", default=None, max_length=35, help="BCP 47 tag")
    time_zone: str | None = text("Time zone", default=None, max_length=64, help="IANA name")
    country: str | None = text("Country", default=None, max_length=100)
    region: str | None = text("Region", default=None, max_length=200)
    city: str | None = text("City", default=None, max_length=200, personal=True)
    industry: str | None = text("Industry", default=None, max_length=200)
    next_step: str | None = text("Next step", default=None, max_length=1000, personal=True)
    next_step_on: date | None = day("Next step on", default=None)


@record("contact_point", label="Contact point")
class ContactPoint(Record):
    """An address at which a customer is reached: as given, and normalised in `key`."""

    customer_id: int = reference("customer", "Customer", part_of=True)
    kind: str = text("Kind", choices=CONTACT_KINDS)
    value: str = text("Value", personal=True)
    key: str | None = text("Key", default=None, searched=True, personal=True, indexed=True, derived=True)
    primary: bool = boolean("Primary", default=False)
    label: str | None = text("Label", default=None, max_length=100, personal=True)


@record("consent", label="Consent", append_only=True)
class Consent(Record):
    """Consent to be contacted for a purpose, granted or withdrawn; the latest entry counts."""

    contact_point_id: int = reference("contact_point", "Contact point", part_of=True)
    purpose: str = text("Purpose", max_length=100)
    status: str = text("Status", choices=("granted", "withdrawn"))
    at: When = moment("At")
    source: str | None = text("Source", default=None)
    text_version: str | None = text("Text version", default=None, max_length=100)


@record("relation", label="Relation")
class Relation(Record):
    """How a customer stands to another: works for, subsidiary of, household, referred by."""

    customer_id: int = reference("customer", "Customer", part_of=True)
    other_id: int = reference("customer", "Other customer")
    kind: str = text("Kind", max_length=100)
    title: str | None = text("Title", default=None, max_length=200, personal=True)
    from_on: date | None = day("From", default=None)
    until_on: date | None = day("Until", default=None)


@record("lifecycle_change", label="Lifecycle change", append_only=True)
class LifecycleChange(Record):
    """A customer's passage from one state to another (churned, won back): an event, so past churn stays true."""

    customer_id: int = reference("customer", "Customer", part_of=True)
    from_state: str | None = text("From", default=None, max_length=50)
    to_state: str = text("To", max_length=50)
    at: When = moment("At", indexed=True)
    reason: str | None = text("Reason", default=None, max_length=1000, personal=True)


@record("interaction", label="Interaction", indexes=[("customer_id", "occurred_at")])
class Interaction(Record):
    """One thing said or done between us and a customer: a message, call, meeting, visit or note."""

    customer_id: int | None = reference("customer", "Customer", default=None, indexed=False)
    channel: str | None = text("Channel", default=None, max_length=50)
    direction: str = text("Direction", default="in", choices=("in", "out", "internal"))
    kind: str = text("Kind", default="note", choices=("message", "call", "meeting", "visit", "note"))
    topic: str | None = text("Topic", default=None, max_length=50)
    occurred_at: When | None = moment("Occurred at", default=None)
    subject: str | None = text("Subject", default=None, max_length=1000, personal=True)
    body: str | None = text("Body", default=None, max_length=0, personal=True)
    author_id: int | None = reference("user", "Author", default=None)
    thread: str | None = text("Thread", default=None, indexed=True, personal=True)
    in_reply_to_id: int | None = reference("interaction", "In reply to", default=None)
    deal_id: int | None = reference("deal", "Deal", default=None)
    needs_answer: bool = boolean("Needs an answer", default=False)
    answered_at: When | None = moment("Answered at", default=None)
    duration: int | None = integer("Duration in seconds", default=None)


# Of a million deals the last index covers what was won in a quarter and for how much (13 ms instead of 85); the one by
# customer tells who ever won one. The order of the columns keeps each index for its own questions.
@record(
    "deal",
    label="Deal",
    indexes=[
        ("pipeline", "status"),
        ("customer_id", "status", "closed_at"),
        (
            "status",
            "closed_at",
            "closed_at_is_date",
            "opened_at",
            "opened_at_is_date",
            "amount",
            "amount_currency",
            "pipeline",
            "stage",
            "customer_id",
            "owner_id",
        ),
    ],
)
class Deal(Record):
    """A chance to sell. What is unknown is None, never 0 or today; `status` follows from the stage's kind."""

    title: str = text("Title", key=True, personal=True)
    customer_id: int | None = reference("customer", "Customer", default=None, indexed=False)
    pipeline: str | None = text("Pipeline", default=None, max_length=50)
    stage: str | None = text("Stage", default=None, max_length=50)
    status: str = text("Status", default="open", choices=("open", "won", "lost"), derived=True)
    amount: Money | None = money("Amount", default=None)
    list_amount: Money | None = money("List amount", default=None)
    planned_amount: Money | None = money("Planned amount", default=None)
    owner_id: int | None = reference("user", "Owner", default=None)
    source: str | None = text("Source", default=None)
    opened_at: When | None = moment("Opened", default=None)
    expected_close_on: date | None = day("Expected close", default=None)
    closed_at: When | None = moment("Closed", default=None)
    lost_reason: str | None = text("Lost reason", default=None, max_length=1000, personal=True)
    next_step: str | None = text("Next step", default=None, max_length=1000, personal=True)
    next_step_on: date | None = day("Next step on", default=None)


# The moves of a deal in their order: what came before and after a move is one step along the index.
@record(
    "stage_change",
    label="Stage change",
    append_only=True,
    indexes=[("at",), ("deal_id", "at", "id", "pipeline", "to_stage")],
)
class StageChange(Record):
    """A deal's passage from one stage to another, written from real moves and mapped dates only."""

    deal_id: int = reference("deal", "Deal", part_of=True, indexed=False)
    pipeline: str = text("Pipeline", max_length=50)
    from_stage: str | None = text("From", default=None, max_length=50)
    to_stage: str = text("To", max_length=50)
    at: When = moment("At")
    actor_id: int | None = reference("user", "Actor", default=None)


@record("deal_change", label="Deal change", append_only=True)
class DealChange(Record):
    """A change of a deal's amount, expected close or owner, so that no metric has to read the ledger."""

    deal_id: int = reference("deal", "Deal", part_of=True)
    field: str = text("Field", choices=("amount", "expected_close_on", "owner_id"))
    old: str | None = text("Old", default=None)
    new: str | None = text("New", default=None)
    at: When = moment("At")


@record("participant", label="Participant")
class Participant(Record):
    """Who took part in a deal or an interaction, and as what: buying committee, SDR, closer."""

    deal_id: int | None = reference("deal", "Deal", default=None, part_of=True)
    interaction_id: int | None = reference("interaction", "Interaction", default=None, part_of=True)
    customer_id: int | None = reference("customer", "Customer", default=None)
    user_id: int | None = reference("user", "User", default=None)
    role: str = text("Role", max_length=100)


# The first index covers what revenue by customer reads: 200,000 sales group in 149 ms instead of 409. The second one
# covers a period's revenue and margin, by owner too: of a million sales, a quarter's in 17 ms instead of 105. It is the
# wider one, and names the customer last, so that SQLite takes the first for whatever goes customer by customer.
@record(
    "sale",
    label="Sale",
    indexes=[
        ("customer_id", "sold_at", "kind", "voided_at", "amount", "amount_currency"),
        (
            "sold_at",
            "kind",
            "voided_at",
            "amount",
            "amount_currency",
            "margin",
            "margin_currency",
            "owner_id",
            "customer_id",
        ),
    ],
)
class Sale(Record):
    """Revenue: a sale, or a refund whose positive amount is taken off. An unknown amount is None and counted apart."""

    customer_id: int | None = reference("customer", "Customer", default=None, indexed=False)
    deal_id: int | None = reference("deal", "Deal", default=None)
    kind: str = text("Kind", default="sale", choices=("sale", "refund"))
    refunds_sale_id: int | None = reference("sale", "Refunds sale", default=None)
    sold_at: When | None = moment("Sold at", default=None)
    amount: Money | None = money("Amount", default=None)
    margin: Money | None = money("Margin", default=None)
    source: str | None = text("Source", default=None)
    owner_id: int | None = reference("user", "Owner", default=None)
    voided_at: When | None = moment("Voided at", default=None)


@record("external_id", label="External id", unique=[("record_type", "system", "external")], internal=True)
class ExternalId(Record):
    """The name another system gives a record; a merge moves it, an import of a deleted one says so."""

    record_type: str = text("Record type", max_length=60)
    system: str = text("System", max_length=100)
    external: str = text("External id", personal=True)
    record_id: int = integer("Record", indexed=True)
    state: str = text("State", default="live", choices=("live", "merged", "deleted", "erased"))
    row_hash: str | None = text("Row hash", default=None, max_length=64, personal=True, derived=True)


KERNEL_RECORDS: tuple[type[Record], ...] = (
    Team,
    User,
    Customer,
    ContactPoint,
    Consent,
    Relation,
    LifecycleChange,
    Interaction,
    Deal,
    StageChange,
    DealChange,
    Participant,
    Sale,
    ExternalId,
)
"""In an order in which references point backwards, so that data loads in this order."""

__all__ = [
    "CONTACT_KINDS",
    "KERNEL_RECORDS",
    "TOPICS",
    "Consent",
    "ContactPoint",
    "Customer",
    "Deal",
    "DealChange",
    "ExternalId",
    "Interaction",
    "LifecycleChange",
    "Participant",
    "Relation",
    "Sale",
    "StageChange",
    "Team",
    "User",
    "When",
]
