"""What inbox and outbox keep beside the kernel's interactions, which are the conversation itself."""

from __future__ import annotations

from crm_core import Interaction, Record
from crm_core.records import Extension, When, boolean, extension, integer, moment, record, reference, text

STATUSES = ("queued", "sending", "sent", "delivered", "read", "failed")
RECEIPTS = ("sent", "delivered", "read", "failed")
SENDERS = ("known", "lead", "ambiguous", "unknown")
AUTOMATIC = ("person", "reply", "bounce", "bulk", "loop")


@extension("inbox", extends=Interaction)
class Assignment(Extension):
    """Who of us looks after an interaction, where it is not the customer's owner."""

    assignee_id: int | None = reference("user", "Assigned to", default=None)


@record("inbox_message", label="Inbox message", indexes=[("account", "reference")])
class InboxMessage(Record):
    """How an interaction came in; that it came once only is told by the kernel's external ids."""

    interaction_id: int = reference("interaction", "Interaction", part_of=True)
    account: str = text("Account", max_length=60)
    reference: str = text("Reference", personal=True, help="What replies to it name.")
    thread: str | None = text("Thread", default=None, max_length=1000, personal=True, help="The channel's own id.")
    sender_kind: str = text("Sender's kind", max_length=50)
    sender_value: str = text("Sender", max_length=1000, personal=True)
    sender_name: str | None = text("Sender's name", default=None, personal=True)
    sender: str = text("Sender is", choices=SENDERS)
    automatic: str = text("Written by", default="person", choices=AUTOMATIC)
    no_machine: bool = boolean("Wants no automatic answer", default=False)


@record("inbox_attachment", label="Attachment", indexes=[("digest",)])
class InboxAttachment(Record):
    """A file that came with a message; `digest` names its content in the store, and is empty where it was not kept.

    One without a name is of a person who was erased: its content goes as well, and then its digest.
    """

    interaction_id: int = reference("interaction", "Interaction", part_of=True)
    name: str | None = text("Name", default=None, personal=True)
    type: str = text("Type", max_length=200)
    size: int = integer("Bytes")
    digest: str | None = text("SHA-256", default=None, max_length=64)
    refused: str | None = text("Not kept because", default=None)


@record("held_message", label="Held message")
class HeldMessage(Record):
    """A message that could not be stored as an interaction: whole, with the reason, so that nothing is lost."""

    customer_id: int | None = reference("customer", "Customer", default=None, help="The sender, where that is known.")
    account: str = text("Account", max_length=60)
    key: str = text("Key", max_length=64, unique=True, help="A digest: an erased message is known when it comes again.")
    reason: str = text("Reason", max_length=1000, personal=True)
    content: str = text("Content", max_length=0, personal=True)
    digests: str | None = text("Files", default=None, max_length=0, help="SHA-256 of its files, with spaces between.")


@record("early_receipt", label="Early receipt", indexes=[("account", "name")])
class EarlyReceipt(Record):
    """What a service said of a message before it was noted what it calls it; it waits for that, for an hour at most.

    Its customer is not known before its message is.
    """

    customer_id: int | None = reference("customer", "Customer", default=None)
    account: str = text("Account", max_length=60)
    name: str = text("Message at the service", max_length=400, personal=True)
    status: str = text("Status", choices=RECEIPTS)
    at: When | None = moment("At", default=None)
    reason: str | None = text("Reason", default=None, max_length=1000, personal=True)
    unsubscribed: bool = boolean("Wants no messages", default=False)
    came_at: When = moment("Came")


@record("inbox_state", label="State of an account", internal=True)
class InboxState(Record):
    """How far an account was read. When it was last read, and what is wrong with it, is the job's standing."""

    account: str = text("Account", max_length=60, unique=True)
    cursor: str = text("Cursor", default="", max_length=0)
    last_message_at: When | None = moment("Last message", default=None)


@record("message_template", label="Template", unique=[("name", "language")])
class MessageTemplate(Record):
    """What a message says, in one language; the one without a language stands for all that have none of their own."""

    name: str = text("Name", max_length=100)
    language: str = text("Language", default="", max_length=35, help="BCP 47 tag; empty for any.")
    subject: str | None = text("Subject", default=None, max_length=1000)
    body: str = text("Text", max_length=0)
    html: str | None = text("HTML", default=None, max_length=0)


@record("campaign", label="Campaign")
class Campaign(Record):
    """A message to many; its key keeps anybody from getting it twice, however often it is sent."""

    key: str = text("Key", max_length=100, unique=True)
    template: str = text("Template", max_length=100)
    purpose: str = text("Purpose", max_length=100)
    operation: str | None = text("Operation", default=None, max_length=13, help="The one that began it.")


# What becomes of a message is derived, so that no undo of a worker's doing makes it leave again; `sent_at` is not, so
# that an undo of the writing leaves alone what is gone. The first index finds what is due, the second what an account
# sent within the last minute.
# The last one begins with the customer: a database that has not counted the messages of a campaign yet takes them to be
# few, and would read all of them for each hundred that are added.
@record(
    "outbox_message",
    label="Outbox message",
    plural="outbox_messages",
    indexes=[("account", "status", "next_at"), ("account", "sent_at"), ("provider_id",), ("customer_id", "campaign")],
)
class OutboxMessage(Record):
    """A message that is to leave, or left: `message_id` is ours and stays the same at every attempt."""

    message_id: str = text("Message id", max_length=200, unique=True)
    account: str = text("Account", max_length=60)
    interaction_id: int | None = reference("interaction", "Interaction", default=None, part_of=True)
    customer_id: int | None = reference("customer", "Customer", default=None)
    contact_point_id: int | None = reference("contact_point", "Contact point", default=None)
    address_kind: str = text("Address kind", max_length=50)
    address: str = text("Address", max_length=1000, personal=True)
    name: str | None = text("Name", default=None, personal=True)
    thread: str | None = text("Thread", default=None, max_length=1000, personal=True, help="The channel's own id.")
    replies_to: str | None = text("Replies to", default=None, max_length=0, personal=True)
    html: str | None = text(
        "HTML", default=None, max_length=0, personal=True, help="What it says, for those who show it."
    )
    headers: str | None = text("Headers", default=None, max_length=0, personal=True, help="Further headers, as JSON.")
    campaign: str | None = text("Campaign", default=None, max_length=100, help="The key of its campaign.")
    once: str | None = text(
        "Once", default=None, max_length=64, unique=True, personal=True, help="Keeps an address from a second one."
    )
    purpose: str = text("Purpose", default="service", max_length=100)
    automatic: bool = boolean("Automatic", default=False)
    status: str = text("Status", default="queued", choices=STATUSES, derived=True)
    attempts: int = integer("Attempts", default=0, derived=True)
    next_at: When | None = moment("Next try", default=None, derived=True)
    reason: str | None = text("Reason", default=None, max_length=1000, personal=True, derived=True)
    provider_id: str | None = text("Provider's id", default=None, derived=True)
    sent_at: When | None = moment("Sent", default=None)
    delivered_at: When | None = moment("Delivered", default=None, derived=True)
    read_at: When | None = moment("Read", default=None, derived=True)
