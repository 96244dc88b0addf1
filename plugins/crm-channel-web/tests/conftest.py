"""A workspace with one account of each channel, served by uvicorn on a real socket."""

from __future__ import annotations

import base64
import hmac
import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import attrs
import pytest
import uvicorn

from crm_channel_web import HookApp
from crm_core import CRM
from crm_core.values import FixedClock

KEY = b"a key of twenty-four bytes"
SECRETS = {
    "EVENTS": "whsec_" + base64.b64encode(KEY).decode(),
    "FORMER": "whsec_" + base64.b64encode(b"the key of last year....").decode(),
    "FORM": "canary-5f2d9c1b7e",
    "SHOP": "canary-8a1b2c3d4e",
}
SETTINGS = """
[crm]
currency = "EUR"
[storage]
url = "sqlite:///crm.db"
[channels.events]
type = "webhook"
secret = {env = "EVENTS"}
former_secret = {env = "FORMER"}
[channels.contact]
type = "form"
secret = {env = "FORM"}
origins = ["https://example.org"]
fields = ["name=name", "email=mail", "message=message", "budget=budget"]
labels = ["email=ایمیل شما"]
least_seconds = 1
thanks = "https://example.org/thanks"
consent = "newsletter"
consent_text = "News <once> a month"
consent_version = "2026-11"
[channels.shop]
type = "woocommerce"
secret = {env = "SHOP"}
[channels.boutique]
type = "shopify"
secret = {env = "SHOP"}
[channels.leave]
type = "unsubscribe"
secret = {env = "SHOP"}
url = "https://crm.example.org/hooks/leave"
question = "Keine <Post> mehr?"
[channels.open]
type = "webhook"
secret = {env = "NOT_THERE"}
"""


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str


class Client:
    """Speaks to the server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, body or None, {name.replace("_", "-"): headers[name] for name in headers})
            found = connection.getresponse()
            names = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, names, found.read().decode())

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        return self("POST", path, body, **headers)

    def raw(self, *parts: bytes, timeout: float = 10) -> bytes:
        """Send bytes as they are, and read until the server hangs up or says nothing."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            for part in parts:
                connection.sendall(part)
            return connection.recv(65_536)


@contextmanager
def serving(crm: CRM, **options: Any) -> Iterator[Client]:
    """Serve a CRM in this process."""
    app = HookApp(crm, **options)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(128)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", log_config=None))
    thread = Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        yield Client(bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        app.close()
        bound.close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace's directory."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    (tmp_path / "crm.toml").write_text(SETTINGS, "utf-8")
    return tmp_path


@pytest.fixture
def clock() -> FixedClock | None:
    """Set by a test module whose time stands still."""
    return None


@pytest.fixture
def crm(place: Path, clock: FixedClock | None) -> Iterator[CRM]:
    with CRM.open(place, clock=clock) as opened:
        yield opened


@pytest.fixture
def client(crm: CRM) -> Iterator[Client]:
    with serving(crm, largest=100_000) as found:
        yield found


def signed_event(body: bytes, event_id: str, at: float, key: bytes = KEY) -> dict[str, str]:
    """The headers of an event that is signed as the Standard Webhooks specification says."""
    plain = f"{event_id}.{int(at)}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, plain, "sha256")).decode()
    return {"webhook-id": event_id, "webhook-timestamp": str(int(at)), "webhook-signature": f"v1,{signature}"}


def event(number: int, text: str = "Hello", **more: Any) -> bytes:
    data = {"email": f"sara{number % 7}@example.org", "name": "سارا", "text": text, **more}
    return json.dumps({"type": "message.created", "data": data}, ensure_ascii=False).encode()


def signed_order(order: Mapping[str, Any], secret: str = SECRETS["SHOP"]) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an order that a WooCommerce shop sends."""
    body = json.dumps(order, ensure_ascii=False).encode()
    signature = base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()
    return body, {"x-wc-webhook-signature": signature, "x-wc-webhook-topic": "order.updated"}
