"""What crm-channel-phone brings to a CRM: channels of phone calls, listening to exchanges, and tidying after it."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import ChannelType, Command, Job


class PhonePlugin:
    """Phone calls."""

    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        """Hand over the channels."""
        from crm_channel_phone.cdr import CallRecords, CdrSettings
        from crm_channel_phone.exchange import Exchange
        from crm_channel_phone.manager import AmiSettings
        from crm_channel_phone.webhook import CallHook, CallHookSettings

        return [
            ChannelType(
                name="phone",
                label="Phone",
                address_kind="phone",
                settings=CallHookSettings,
                open=CallHook,
                capabilities=frozenset({"webhook", "threads"}),
                help="Calls that a softphone or an exchange tells by a signed webhook.",
            ),
            ChannelType(
                name="phone-cdr",
                label="Phone, by call records",
                address_kind="phone",
                settings=CdrSettings,
                open=CallRecords,
                capabilities=frozenset({"poll", "threads"}),
                help="Call records of a CSV file, such as Asterisk's Master.csv.",
            ),
            ChannelType(
                name="phone-ami",
                label="Phone, by Asterisk",
                address_kind="phone",
                settings=AmiSettings,
                open=Exchange,
                capabilities=frozenset({"poll", "threads"}),
                help="Calls of an Asterisk exchange, by its manager interface.",
            ),
        ]

    @hookimpl
    def register_jobs(self) -> Iterable[Job]:
        """Remove what journals of exchanges hold of erased persons."""
        from crm_channel_phone.sweeping import sweep, swept_journals

        return [Job(name="sweep-calls", help="Remove calls of erased persons.", parts=swept_journals, run=sweep)]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add the command that listens to exchanges."""
        return [Command(name="calls", help="Listen to exchanges.", target="crm_channel_phone.commands:calls")]


plugin = PhonePlugin()
