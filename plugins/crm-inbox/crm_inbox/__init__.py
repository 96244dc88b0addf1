"""Every conversation in one place: intake, inbox and outbox for crm-core.

`receive` takes in what a webhook brought, `send` puts a message into the outbox (any plugin has it as
`crm.outbox.send`), `send_to_many` one for each of many: public API for plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_inbox.bulk import Mailing, MailingReport, send_to_many
    from crm_inbox.intake import Intake, receive
    from crm_inbox.outbox import send
    from crm_inbox.records import (
        Assignment,
        Campaign,
        EarlyReceipt,
        HeldMessage,
        InboxAttachment,
        InboxMessage,
        InboxState,
        MessageTemplate,
        OutboxMessage,
    )
    from crm_inbox.templates import Letter, letter
    from crm_inbox.unsubscribing import UnsubscribeSettings, link_of, read_token, withdraw

__all__ = [
    "Assignment",
    "Campaign",
    "EarlyReceipt",
    "HeldMessage",
    "InboxAttachment",
    "InboxMessage",
    "InboxState",
    "Intake",
    "Letter",
    "Mailing",
    "MailingReport",
    "MessageTemplate",
    "OutboxMessage",
    "UnsubscribeSettings",
    "letter",
    "link_of",
    "read_token",
    "receive",
    "send",
    "send_to_many",
    "withdraw",
]
__version__ = "0.1.0"

_PLACES = {
    "Intake": "intake",
    "Letter": "templates",
    "Mailing": "bulk",
    "MailingReport": "bulk",
    "UnsubscribeSettings": "unsubscribing",
    "letter": "templates",
    "link_of": "unsubscribing",
    "read_token": "unsubscribing",
    "receive": "intake",
    "send": "outbox",
    "send_to_many": "bulk",
    "withdraw": "unsubscribing",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'crm_inbox' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"crm_inbox.{_PLACES.get(name, 'records')}"), name)
