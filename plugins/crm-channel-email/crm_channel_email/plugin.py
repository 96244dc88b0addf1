"""What crm-channel-email hands over."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import ChannelType


class EmailChannelPlugin:
    """One channel."""

    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        """Hand over the channel, to be named by `type = "email"`."""
        from crm_channel_email.channel import EmailChannel
        from crm_channel_email.settings import EmailSettings

        return [
            ChannelType(
                name="email",
                label="E-mail",
                address_kind="email",
                settings=EmailSettings,
                open=EmailChannel,
                capabilities=frozenset({"send", "poll", "listen", "receipts", "attachments"}),
                help="Mailboxes by IMAP, sending by SMTP.",
            )
        ]


plugin = EmailChannelPlugin()
