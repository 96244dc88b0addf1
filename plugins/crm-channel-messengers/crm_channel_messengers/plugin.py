"""What crm-channel-messengers hands over."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import hookimpl
from crm_core.extend import ChannelType


class MessengersPlugin:
    """Channels of messengers."""

    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        """Hand over the channels."""
        from crm_channel_messengers.kavenegar import Kavenegar, KavenegarSettings
        from crm_channel_messengers.notify import AppriseSettings, Notifier
        from crm_channel_messengers.pages import Instagram, Messenger, PageSettings
        from crm_channel_messengers.telegram import Telegram, TelegramSettings
        from crm_channel_messengers.twilio import Twilio, TwilioSettings
        from crm_channel_messengers.viber import Viber, ViberSettings
        from crm_channel_messengers.whatsapp import WhatsApp, WhatsAppSettings

        return [
            ChannelType(
                name="telegram",
                label="Telegram",
                address_kind="telegram",
                settings=TelegramSettings,
                open=Telegram,
                capabilities=frozenset({"send", "poll", "listen", "webhook", "threads"}),
                help="A bot, by the Bot API.",
            ),
            ChannelType(
                name="whatsapp",
                label="WhatsApp",
                address_kind="whatsapp",
                settings=WhatsAppSettings,
                open=WhatsApp,
                capabilities=frozenset({"send", "webhook", "receipts", "threads"}),
                help="A business number, by the Cloud API.",
            ),
            ChannelType(
                name="twilio",
                label="SMS by Twilio",
                address_kind="phone",
                settings=TwilioSettings,
                open=Twilio,
                capabilities=frozenset({"send", "webhook", "receipts", "threads"}),
                help="A number for SMS.",
            ),
            ChannelType(
                name="kavenegar",
                label="SMS by Kavenegar",
                address_kind="phone",
                settings=KavenegarSettings,
                open=Kavenegar,
                capabilities=frozenset({"send", "poll", "webhook", "receipts", "threads"}),
                help="A line for SMS.",
            ),
            ChannelType(
                name="viber",
                label="Viber",
                address_kind="viber",
                settings=ViberSettings,
                open=Viber,
                capabilities=frozenset({"send", "webhook", "receipts", "threads"}),
                help="A bot, by the REST interface.",
            ),
            ChannelType(
                name="messenger",
                label="Messenger",
                address_kind="messenger",
                settings=PageSettings,
                open=Messenger,
                capabilities=frozenset({"send", "webhook", "receipts", "threads"}),
                help="A page's messages, by the Graph API.",
            ),
            ChannelType(
                name="instagram",
                label="Instagram",
                address_kind="instagram",
                settings=PageSettings,
                open=Instagram,
                capabilities=frozenset({"send", "webhook", "receipts", "threads"}),
                help="An account's messages, by the Graph API.",
            ),
            *(
                ChannelType(
                    name="apprise" if kind == "phone" else f"apprise-{kind}",
                    label=f"Apprise, by {kind}",
                    address_kind=kind,
                    settings=AppriseSettings,
                    open=Notifier,
                    capabilities=frozenset({"send"}),
                    help="Any service that apprise knows, outbound.",
                )
                for kind in ("phone", "email", "telegram", "whatsapp")
            ),
        ]


plugin = MessengersPlugin()
