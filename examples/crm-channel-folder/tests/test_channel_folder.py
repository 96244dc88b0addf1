from __future__ import annotations

import base64
import hmac
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from crm_core.errors import CredentialsWrong, MessageRejected, TryLater
from crm_core.extend import Address, IncomingMessage, Receipt, Received, WebhookRequest
from crm_core.testing import ChannelContract, ChannelFault, OpenChannel, PluginContract


class TestThePlugin(PluginContract):
    package = "crm_channel_folder"


class TestTheChannel(ChannelContract):
    channel = "folder"
    refused = False

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        for name in ("in", "out"):
            (place / "desk" / name).mkdir(parents=True)
        self.refused = False
        return {"folder": "desk", "key": secret}

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        self.arrive_bytes(place, f"{len(list((place / 'desk/in').iterdir()))}.json", content_of(message))

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        self.arrive_bytes(place, f"garbage-{number}.json", content)

    def arrive_bytes(self, place: Path, name: str, content: bytes) -> None:
        (place / "part").write_bytes(content)
        (place / "part").rename(place / "desk/in" / name)

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        body, stamp = content_of(message), at.isoformat()
        signed = hmac.digest(self.secret.encode(), stamp.encode() + b"." + body, "sha256").hex()
        return WebhookRequest(headers={"x-timestamp": stamp, "x-signature": signed}, body=body, received_at=at)

    def arrived(self, place: Path) -> list[str]:
        return [json.loads(path.read_bytes())["message_id"] for path in (place / "desk/out").glob("*.json")]

    def arrived_texts(self, place: Path) -> list[str]:
        return [json.loads(path.read_bytes())["text"] for path in (place / "desk/out").glob("*.json")]

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        self.arrive_bytes(place, "r.json", json.dumps({"receipt": "delivered", "message_id": message_id}).encode())
        return channel.poll("")

    def recipient(self) -> Address:
        return Address(kind="email", value="nobody" if self.refused else "sara@example.org")

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        def refuse() -> None:
            self.refused = True

        def leave() -> None:
            self.refused = False
            shutil.rmtree(place / "desk", ignore_errors=True)

        return [
            ChannelFault(error=MessageRejected, make=refuse, call="send"),
            ChannelFault(error=TryLater, make=leave),
            ChannelFault(error=TryLater, make=leave, call="send"),
        ]


class TestAShortKey(TestTheChannel):
    secret = "a1b2c3"

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        return [ChannelFault(error=CredentialsWrong, make=lambda: None, call="check"), *super().faults(place)]


def content_of(message: IncomingMessage) -> bytes:
    attachments = [
        {"name": each.name, "type": each.type, "content": base64.b64encode(each.content).decode()}
        for each in message.attachments
    ]
    content = {
        "id": message.external_id,
        "from": message.sender.value,
        "at": message.at.isoformat() if message.at else None,
        "subject": message.subject,
        "text": message.text,
        "thread": message.thread,
        "attachments": attachments,
    }
    return json.dumps(content, ensure_ascii=False).encode()
