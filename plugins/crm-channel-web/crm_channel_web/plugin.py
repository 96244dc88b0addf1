"""What crm-channel-web brings to a CRM: channels that are webhooks, what is known of orders, the server's commands."""

from __future__ import annotations

from collections.abc import Iterable

from crm_core import Record, hookimpl
from crm_core.extend import ChannelCapability, ChannelType, Command


class WebChannelPlugin:
    """Webhooks, web forms, shops."""

    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        """Hand over the channels, all of them by webhook."""
        from crm_channel_web.forms import FormSettings, WebForm
        from crm_channel_web.leaving import Unsubscribe
        from crm_channel_web.shops import Shopify, ShopifySettings, WooCommerce, WooCommerceSettings
        from crm_channel_web.standard import StandardWebhook, WebhookSettings
        from crm_inbox import UnsubscribeSettings

        able: frozenset[ChannelCapability] = frozenset({"webhook"})
        return [
            ChannelType(
                name="webhook",
                label="Webhook",
                address_kind="email",
                settings=WebhookSettings,
                open=StandardWebhook,
                capabilities=frozenset({"webhook", "threads"}),
                help="Events signed by the Standard Webhooks specification.",
            ),
            ChannelType(
                name="form",
                label="Web form",
                address_kind="email",
                settings=FormSettings,
                open=WebForm,
                capabilities=able,
                help="What people write in a form on a web page.",
            ),
            ChannelType(
                name="unsubscribe",
                label="Unsubscribing",
                address_kind="email",
                settings=UnsubscribeSettings,
                open=Unsubscribe,
                capabilities=able,
                help="The links by which people leave bulk mail.",
            ),
            ChannelType(
                name="woocommerce",
                label="WooCommerce",
                address_kind="email",
                settings=WooCommerceSettings,
                open=WooCommerce,
                capabilities=able,
                help="Orders of a WooCommerce shop.",
            ),
            ChannelType(
                name="shopify",
                label="Shopify",
                address_kind="email",
                settings=ShopifySettings,
                open=Shopify,
                capabilities=able,
                help="Orders of a Shopify shop.",
            ),
        ]

    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        """Add how far orders are known."""
        from crm_channel_web.orders import ShopOrder

        return [ShopOrder]

    @hookimpl
    def register_commands(self) -> Iterable[Command]:
        """Add `crm hooks`."""
        return [
            Command(name="hooks", help="Serve the webhooks of all accounts.", target="crm_channel_web.commands:hooks")
        ]


plugin = WebChannelPlugin()
