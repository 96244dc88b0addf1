"""What crm-inbox brings to a CRM: records, jobs of `crm run`, commands."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import Record, hookimpl
from crm_core.extend import Command, Job
from crm_core.records import Extension


class InboxPlugin:
    """Intake, inbox and outbox."""

    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        """Add what is kept beside interactions."""
        from crm_inbox import records

        return [
            records.InboxMessage,
            records.InboxAttachment,
            records.HeldMessage,
            records.InboxState,
            records.OutboxMessage,
        ]

    @hookimpl
    def register_fields(self) -> Iterable[type[Extension]]:
        """Add who looks after an interaction."""
        from crm_inbox.records import Assignment

        return [Assignment]

    @hookimpl
    def register_jobs(self) -> Iterable[Job]:
        """Poll the accounts."""
        from crm_inbox.polling import poll_account, polled_accounts

        return [
            Job(name="poll", help="Read what came in at the channels.", parts=polled_accounts, run=poll_account),
        ]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add the commands of inbox and outbox."""
        return []


plugin = InboxPlugin()
