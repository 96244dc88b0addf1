"""The kit of channels finds faults: each of these breaks one promise, and the claim about it does not hold."""

from __future__ import annotations

import base64
import hmac
import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from crm_core.errors import CrmError, TryLater
from crm_core.extend import IncomingMessage, Receipt, Received, WebhookRequest
from crm_core.testing import ChannelContract, ChannelFault, OpenChannel

FAULTY = Path(__file__).with_name("faulty.py")
CLAIMS = [
    ("GivesUpWhatItRead", "test_the_same_cursor_gives_the_same_again"),
    ("GivesUpWhatItRead", "test_a_crash_between_any_two_steps_loses_and_doubles_nothing"),
    ("MakesUpIds", "test_a_crash_between_any_two_steps_loses_and_doubles_nothing"),
    ("MakesUpIds", "test_one_that_comes_in_twice_keeps_its_id"),
    ("SkipsWhatIsLate", "test_messages_come_in_whatever_their_order"),
    ("ForgetsThePage", "test_pages_end_and_lose_nothing"),
    ("StandsStill", "test_pages_end_and_lose_nothing"),
    ("StumblesOverGarbage", "test_garbage_stops_nothing"),
    ("ShowsItsSecret", "test_no_secret_is_ever_shown"),
    ("BelievesEveryRequest", "test_a_request_that_the_service_did_not_make_is_refused"),
    ("NumbersEachAttempt", "test_a_repetition_has_the_same_message_id"),
    ("TakesEveryFaultForCredentials", "test_faults_are_told_apart"),
    ("NumbersEachAttempt", "test_a_message_reaches_the_other_side"),
    ("TakesEveryReceiptForRead", "test_a_receipt_names_the_message_it_is_of"),
    ("TakesTheTimeForTheId", "test_pages_end_and_lose_nothing"),
    ("TakesTheTimeForTheId", "test_a_crash_between_any_two_steps_loses_and_doubles_nothing"),
    ("TakesTheWordsForTheId", "test_the_same_words_twice_are_two_messages"),
    ("DropsFiles", "test_every_message_comes_in_whole"),
    ("LosesThreads", "test_a_request_brings_its_message"),
    ("TellsReceiptsTwice", "test_a_receipt_names_the_message_it_is_of"),
    ("NamesAllAlike", "test_a_message_reaches_the_other_side"),
    ("CutsWhatItSends", "test_a_message_reaches_the_other_side"),
    ("SaysThatItWasSent", "test_faults_are_told_apart"),
    ("CannotSend", "test_it_can_do_what_it_declares"),
]


class Kit(ChannelContract):
    """The suite as a vendor subclasses it; not named Test, because it is to fail."""

    plugins = (str(FAULTY),)

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        for name in ("in", "out"):
            (place / "desk" / name).mkdir(parents=True)
        return {"folder": "desk", "key": secret}

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        name = f"{len(list((place / 'desk/in').iterdir()))}.json"
        (place / "desk/in" / name).write_bytes(_content(message))

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        (place / f"desk/in/garbage-{number}.json").write_bytes(content)

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        body, stamp = _content(message), at.isoformat()
        signed = hmac.digest(self.secret.encode(), stamp.encode() + b"." + body, "sha256").hex()
        return WebhookRequest(headers={"x-timestamp": stamp, "x-signature": signed}, body=body, received_at=at)

    def arrived(self, place: Path) -> list[str]:
        return [json.loads(path.read_bytes())["message_id"] for path in (place / "desk/out").glob("*.json")]

    def arrived_texts(self, place: Path) -> list[str]:
        return [json.loads(path.read_bytes())["text"] for path in (place / "desk/out").glob("*.json")]

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        content = {"receipt": "delivered", "message_id": receipt.provider_id}
        (place / "desk/in/r.json").write_text(json.dumps(content), "utf-8")
        return channel.poll("")

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        def leave() -> None:
            shutil.rmtree(place / "desk", ignore_errors=True)

        return [ChannelFault(error=TryLater, make=leave, call=call) for call in ("poll", "send")]


def _content(message: IncomingMessage) -> bytes:
    attachments = [
        {"name": each.name, "type": each.type, "content": base64.b64encode(each.content).decode()}
        for each in message.attachments
    ]
    at = message.at.isoformat() if message.at else None
    names = {"id": message.external_id, "from": message.sender.value, "at": at, "thread": message.thread}
    return json.dumps({**names, "text": message.text, "attachments": attachments}, ensure_ascii=False).encode()


def _call(faulty: str, claim: str, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    kit = Kit()
    kit.channel = faulty  # type: ignore[misc]  # a class variable, set for one object
    test = getattr(kit, claim)
    with kit.workspace(place) as account:
        given = {"tmp_path": place, "account": account, "caplog": caplog}
        test(**{name: given[name] for name in inspect.signature(test).parameters})


@pytest.mark.parametrize(("faulty", "claim"), CLAIMS)
def test_a_fault_is_found(faulty: str, claim: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises((AssertionError, CrmError, pytest.fail.Exception)):
        _call(faulty, claim, tmp_path, caplog)


@pytest.mark.parametrize(
    ("faulty", "claim"),
    [
        ("NumbersEachAttempt", "test_garbage_stops_nothing"),
        ("ShowsItsSecret", "test_pages_end_and_lose_nothing"),
        ("GivesUpWhatItRead", "test_a_repetition_has_the_same_message_id"),
    ],
)
def test_what_a_faulty_one_does_right_is_right(
    faulty: str, claim: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _call(faulty, claim, tmp_path, caplog)
