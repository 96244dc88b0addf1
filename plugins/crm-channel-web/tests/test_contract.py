"""The channels and the plugin before the kits."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from crm_core.extend import IncomingMessage, WebhookRequest
from crm_core.testing import ChannelContract, ChannelFault, PluginContract

from .conftest import signed_event
from .test_forms import token
from .test_shops import shopify_order, woo_order


class TestThePlugin(PluginContract):
    package = "crm_channel_web"


class OnlyCalled(ChannelContract):
    """A channel without another side that could be away."""

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        return []


class TestStandardWebhooks(OnlyCalled):
    channel = "webhook"
    secret = "whsec_" + base64.b64encode(b"canary-5f2d9c1b7e-and-more").decode()

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"secret": secret, "former_secret": secret}

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        data = {"email": message.sender.value, "text": message.text, "thread": message.thread}
        body = json.dumps({"type": "message", "data": data}).encode()
        headers = signed_event(body, message.external_id, at.timestamp(), b"canary-5f2d9c1b7e-and-more")
        return WebhookRequest(headers=headers, body=body, received_at=at)


class TestAForm(OnlyCalled):
    channel = "form"

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"secret": secret, "origins": ["https://example.org"]}

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        given = token(self.secret, "tested", at - timedelta(seconds=9))
        body = urlencode({"email": message.sender.value, "message": message.text, "token": given}).encode()
        headers = {"origin": "https://example.org", "content-type": "application/x-www-form-urlencoded"}
        return WebhookRequest(headers=headers, body=body, received_at=at)


class TestWooCommerce(OnlyCalled):
    channel = "woocommerce"
    headers = ("x-wc-webhook-signature", "x-wc-webhook-topic")

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"secret": secret}

    def order(self, message: IncomingMessage) -> Mapping[str, Any]:
        return woo_order(id=_number(message), customer_note=message.text, billing={"email": message.sender.value})

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        body = json.dumps(self.order(message)).encode()
        signature = base64.b64encode(hmac.digest(self.secret.encode(), body, "sha256")).decode()
        signed, topic = self.headers
        topics = {"x-wc-webhook-topic": "order.created", "x-shopify-topic": "orders/create"}
        return WebhookRequest(headers={signed: signature, topic: topics[topic]}, body=body, received_at=at)


class TestShopify(TestWooCommerce):
    channel = "shopify"
    headers = ("x-shopify-hmac-sha256", "x-shopify-topic")

    def order(self, message: IncomingMessage) -> Mapping[str, Any]:
        return shopify_order(id=_number(message), note=message.text, email=message.sender.value)


def _number(message: IncomingMessage) -> int:
    """The order that a message is the note of: a shop numbers its orders."""
    return 700 + int("".join(filter(str.isdigit, message.external_id)))
