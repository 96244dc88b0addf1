"""Every conversation in one place: intake, inbox and outbox for crm-core.

`receive` takes in what a webhook brought, `send` puts a message into the outbox; both are public API for plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crm_inbox.intake import Intake, receive
    from crm_inbox.outbox import send
    from crm_inbox.records import Assignment, HeldMessage, InboxAttachment, InboxMessage, InboxState, OutboxMessage

__all__ = [
    "Assignment",
    "HeldMessage",
    "InboxAttachment",
    "InboxMessage",
    "InboxState",
    "Intake",
    "OutboxMessage",
    "receive",
    "send",
]
__version__ = "0.1.0"

_PLACES = {"Intake": "intake", "receive": "intake", "send": "outbox"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'crm_inbox' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"crm_inbox.{_PLACES.get(name, 'records')}"), name)
