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
        from crm_channel_messengers.telegram import Telegram, TelegramSettings
        from crm_channel_messengers.twilio import Twilio, TwilioSettings
        from crm_channel_messengers.whatsapp import WhatsApp, WhatsAppSettings

        return [
            ChannelType(
                name="telegram",
                label="Telegram",
                address_kind="telegram",
                settings=TelegramSettings,
                open=Telegram,
                capabilities=frozenset({"send", "poll", "webhook", "threads"}),
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
                capabilities=frozenset({"send"}),
                help="A line for SMS, outbound.",
            ),
        ]


plugin = MessengersPlugin()
