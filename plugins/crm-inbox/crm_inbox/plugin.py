"""What crm-inbox brings to a CRM: records, jobs of `crm run`, commands."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import Record, hookimpl
from crm_core.extend import Command, Job, Service
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
            records.EarlyReceipt,
            records.InboxState,
            records.MessageTemplate,
            records.Campaign,
            records.OutboxMessage,
        ]

    @hookimpl
    def register_fields(self) -> Iterable[type[Extension]]:
        """Add who looks after an interaction."""
        from crm_inbox.records import Assignment

        return [Assignment]

    @hookimpl
    def register_jobs(self) -> Iterable[Job]:
        """Poll the accounts, send what is due, remove the files of erased persons."""
        from crm_inbox.early import settle_account, waiting_accounts
        from crm_inbox.polling import listening, poll_account, polled_accounts
        from crm_inbox.sending import send_account, sending_accounts, something_waits
        from crm_inbox.sweeping import sweep, swept_stores

        return [
            Job(
                name="poll",
                help="Read what came in at the channels.",
                parts=polled_accounts,
                run=poll_account,
                stays=listening,
                apart=True,
            ),
            Job(
                name="send",
                help="Send what is due in the outbox.",
                parts=sending_accounts,
                run=send_account,
                waiting=something_waits,
                apart=True,
            ),
            Job(
                name="receipts",
                help="Look for the messages of receipts that wait.",
                parts=waiting_accounts,
                run=settle_account,
            ),
            Job(name="sweep", help="Remove the files of erased persons.", parts=swept_stores, run=sweep),
        ]

    @hookimpl
    def register_services(self) -> Iterable[Service]:
        """Let any plugin have messages leave."""
        from crm_inbox.outbox import Outbox

        return [Service(name="outbox", help="Messages that are to leave.", open=Outbox)]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add the commands of inbox and outbox."""
        inbox, outbox = "crm_inbox.inbox_commands", "crm_inbox.outbox_commands"
        return [
            Command(name="inbox", help="What waits for an answer.", target=f"{inbox}:inbox_"),
            Command(name="reply", help="Answer an interaction.", target=f"{inbox}:reply"),
            Command(name="assign", help="Say who looks after an interaction.", target=f"{inbox}:assign"),
            Command(name="send", help="Write to a customer, or to many.", target="crm_inbox.send_commands:send_"),
            Command(name="outbox", help="What is to leave, what left, what was given up.", target=f"{outbox}:outbox"),
            Command(
                name="templates",
                help="What messages say, per language.",
                target="crm_inbox.template_commands:templates",
            ),
            Command(name="channels", help="The accounts that messages come and go by.", target=f"{outbox}:channels"),
        ]


plugin = InboxPlugin()
