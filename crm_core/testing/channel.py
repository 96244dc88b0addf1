"""The contract of a channel as tests: a vendor subclasses `ChannelContract` and says how the other side is reached.

The other side is the real service, a server of the same protocol, or a fake that is named so.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any, ClassVar

import attrs
import pytest

from crm_core.crm import CRM
from crm_core.errors import ChannelError, CredentialsWrong, CrmError, MessageRejected, RequestRefused, TryLater
from crm_core.extend import (
    Address,
    Attachment,
    Channel,
    IncomingMessage,
    OutgoingMessage,
    Receipt,
    Received,
    WebhookRequest,
)
from crm_core.services.channels import OpenChannel

_ACCOUNT = "tested"
_VARIABLE = "CRM_TESTED_SECRET"
_MANY = 230
"""Messages of the tests that read pages."""
_STOPS = 15.0
"""Seconds within which one that listens comes back when it is to stop."""
_LONGEST = 1_000
"""Polls after which a channel that always has more counts as one that never ends."""
_METHODS = {"send": "send", "poll": "poll", "listen": "listen", "webhook": "parse"}
_PROMPT = 2.0
"""Seconds within which a channel that listens says that something came."""
_GARBAGE = (
    b"",
    b"\x00" * 64,
    b"\xff\xfe\xfd",
    b"{",
    b"[]",
    b"null",
    b'{"id": 1}',
    b"<html><script>alert(1)</script>",
    b"From: \r\n\r\n",
    b"[" * 100_000,
    "شکسته\u202e".encode() * 20,
    bytes(range(256)) * 40,
)


@attrs.frozen(kw_only=True)
class ChannelFault:
    """A fault of the other side: `make` brings it about, and `call` ("send", "poll" or "check") then raises `error`.

    With `poll` so does `listen`, of a channel that can.
    """

    error: type[ChannelError]
    make: Callable[[], None]
    call: str = "poll"


class ChannelContract(ABC):
    """What every channel promises. Subclass it, name the subclass `Test...`, define what is abstract.

    `place` is an empty folder of the test's own, which is also the workspace.
    """

    channel: ClassVar[str] = ""
    """The name of the channel."""
    plugins: ClassVar[tuple[str, ...]] = ()
    """Paths of your own code that brings the channel, where no installed distribution does."""
    secret: ClassVar[str] = "canary-5f2d9c1b7e"
    """What the secret of the account is in these tests; nothing may ever show it."""

    @abstractmethod
    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the table `[channels.<name>]`, with `secret` (such as `{env = ...}`) for each of its secrets."""

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        """Have a message come in at the other side, under its `external_id` as far as the service lets one choose."""
        raise NotImplementedError("a channel that polls needs `arrive` to be tested")

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        """Have something come in at the other side that is no message."""
        raise NotImplementedError("a channel that polls needs `arrive_garbage` to be tested")

    def request(self, place: Path, message: IncomingMessage, at: datetime) -> WebhookRequest:
        """Return the request by which the service tells of a message, signed as it should be."""
        raise NotImplementedError("a channel with a webhook needs `request` to be tested")

    def arrived(self, place: Path) -> list[str]:
        """Return the message ids of what reached the other side, each as often as a recipient would see it."""
        raise NotImplementedError("a channel that sends needs `arrived` to be tested")

    def arrived_texts(self, place: Path) -> list[str] | None:
        """Return what the messages read that reached the other side; None where it cannot be looked at."""
        return None

    def bring_receipt(self, place: Path, channel: OpenChannel, message_id: str, receipt: Receipt) -> Received:
        """Have the service tell that a message was delivered, by a poll or a webhook; return what the channel brings.

        `message_id` is ours, `receipt` what `send` returned.
        """
        raise NotImplementedError("a channel with receipts needs `bring_receipt` to be tested")

    @abstractmethod
    def faults(self, place: Path) -> Sequence[ChannelFault]:
        """Return how the other side can fail: `CredentialsWrong` where it knows credentials.

        One that is polled or sent to can also be away: a `TryLater` at least, of one that sends with `call="send"`.
        """

    def recipient(self) -> Address:
        """Return whom the tests send to."""
        return Address(kind=self.kind_of_address(), value="sara@example.org", name="سارا احمدی")

    # The account

    @pytest.fixture
    def account(self, tmp_path: Path) -> Iterator[Callable[[], OpenChannel]]:
        """Open the account, as often as it is called: each is what another process would see."""
        with self.workspace(tmp_path) as open_account:
            yield open_account

    @contextmanager
    def workspace(self, place: Path) -> Iterator[Callable[[], OpenChannel]]:
        """Make a workspace with the account in a folder; yields what opens the account."""
        options = self.options(place, {"env": _VARIABLE})
        lines = [f"plugins = {json.dumps(list(self.plugins))}"] if self.plugins else []
        lines += ["[storage]", 'url = "memory:"', f"[channels.{_ACCOUNT}]", f'type = "{self.channel}"']
        lines += [f"{name} = {_toml(value)}" for name, value in options.items()]
        (place / "crm.toml").write_text("\n".join(lines) + "\n", "utf-8")
        with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
            patch.setenv(_VARIABLE, self.secret)
            crm = opened.enter_context(CRM.open(place))
            self._type = crm.channels.type_of(_ACCOUNT)
            yield lambda: opened.enter_context(crm.channels.open(_ACCOUNT))

    def kind_of_address(self) -> str:
        """Return the kind of contact point that the channel reaches."""
        return self._type.address_kind

    def test_it_can_do_what_it_declares(self, account: Callable[[], OpenChannel]) -> None:
        code = type(account()._channel)
        for capability, method in _METHODS.items():
            declared = capability in self._type.capabilities
            assert declared == (getattr(code, method) is not getattr(Channel, method)), (
                f"{capability!r} is {'' if declared else 'not '}declared: say so, and override `{method}`, or neither"
            )

    # Coming in

    def test_every_message_comes_in_whole(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("poll"):
            sent = self.samples(3)
            for each in sent:
                self.arrive(tmp_path, each)
            found = self.by_text(self.all_of(account()))
            for each in sent:
                self.same(each, found)

    def test_pages_end_and_lose_nothing(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("poll"):
            for each in self.samples(_MANY):
                self.arrive(tmp_path, each)
            self.complete(_MANY, self.all_of(account()))

    def test_the_same_cursor_gives_the_same_again(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("poll"):
            for each in self.samples(5):
                self.arrive(tmp_path, each)
            first = account().poll("")
            again = account().poll("")
            assert _ids(first) == _ids(again), "polled twice from the start, messages have other ids, or are gone"
            account().poll(first.cursor)
            assert set(_ids(first)) <= set(_ids(account().poll(""))), (
                "an older cursor, as a restored backup has it, must give what came behind it"
            )

    def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(
        self, tmp_path: Path, account: Callable[[], OpenChannel]
    ) -> None:
        if not self.can("poll"):
            return
        waiting = self.samples(6)
        stored: dict[str, IncomingMessage] = {}
        cursor = ""
        for number in range(12):
            if waiting:
                self.arrive(tmp_path, waiting.pop())
            channel = account()
            received = channel.poll(cursor)
            if number % 3 == 0:  # killed before anything was stored
                continue
            if number % 3 == 1:  # killed after a part was stored, before the cursor was
                stored |= {each.external_id: each for each in received.messages[::2]}
                continue
            stored |= {each.external_id: each for each in received.messages}
            cursor = received.cursor
        self.complete(6, list(stored.values()))

    def test_messages_come_in_whatever_their_order(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("poll"):
            stored: dict[str, IncomingMessage] = {}
            cursor = ""
            for each in reversed(self.samples(4)):  # the oldest is the last to come in
                self.arrive(tmp_path, each)
                received = account().poll(cursor)
                stored |= {one.external_id: one for one in received.messages}
                cursor = received.cursor
            self.complete(4, list(stored.values()))

    def test_one_that_comes_in_twice_keeps_its_id(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("poll"):
            for each in [*self.samples(2), *self.samples(2)]:
                self.arrive(tmp_path, each)
            self.complete(2, list({one.external_id: one for one in self.all_of(account())}.values()))

    def test_the_same_words_twice_are_two_messages(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        one, other, later = self.samples(3)
        again = attrs.evolve(one, external_id=other.external_id, at=later.at)
        ids: list[str] = []
        if self.can("poll"):
            for each in (one, again):
                self.arrive(tmp_path, each)
            ids = [each.external_id for each in self.all_of(account())]
        elif self.can("webhook"):
            now = datetime.now(UTC)
            ids = [key for each in (one, again) for key in _ids(account().parse(self.request(tmp_path, each, now)))]
        else:
            return
        assert len(set(ids)) == 2, f"somebody wrote the same twice, and {len(set(ids))} came in: {ids}"

    def test_garbage_stops_nothing(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("poll"):
            before, after = self.samples(2)
            self.arrive(tmp_path, before)
            for number, content in enumerate(_GARBAGE):
                self.arrive_garbage(tmp_path, number, content)
            self.arrive(tmp_path, after)
            found = self.by_text(self.all_of(account()))
            self.same(before, found)
            self.same(after, found)

    # Listening

    def test_it_says_within_two_seconds_that_a_message_came(
        self, tmp_path: Path, account: Callable[[], OpenChannel]
    ) -> None:
        if not self.can("listen"):
            return
        first, second = self.samples(2)
        channel = account()
        cursor = channel.poll("").cursor
        self.arrive(tmp_path, first)
        assert self.hears(channel, cursor), "a message that was there before goes unheard"
        assert self.hears(account(), cursor), "who listens takes nothing out: a message is told to the next one too"
        received = channel.poll(cursor)
        self.same(first, self.by_text(received.messages))
        came: list[float] = []

        def arrive() -> None:
            sleep(0.5)
            self.arrive(tmp_path, second)
            came.append(monotonic())

        arriving = Thread(target=arrive)
        arriving.start()
        heard, at = self.hears(channel, received.cursor), monotonic()
        arriving.join()
        assert heard, "a message that came meanwhile goes unheard"
        assert at - came[0] < _PROMPT, f"it took {at - came[0]:.1f} s to hear of a message"
        self.same(second, self.by_text(channel.poll(received.cursor).messages))

    def test_it_listens_until_the_time_is_over_or_it_is_to_stop(
        self, tmp_path: Path, account: Callable[[], OpenChannel]
    ) -> None:
        if not self.can("listen"):
            return
        self.arrive(tmp_path, self.samples(1)[0])
        channel = account()
        cursor = channel.poll("").cursor
        begun = monotonic()
        assert not channel.listen(cursor, 1.0, lambda: False), "it heard of what was polled before"
        assert 0.9 < monotonic() - begun < _STOPS, "it listens for as long as it is told to"
        begun = monotonic()
        assert not channel.listen(cursor, 600.0, lambda: monotonic() - begun > 0.5)
        assert monotonic() - begun < _STOPS, f"asked to stop it went on for {monotonic() - begun:.0f} s"
        assert self.can("poll"), "whoever listens can be polled"

    # Webhooks

    def test_a_request_brings_its_message(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("webhook"):
            now = datetime.now(UTC)
            for each in self.samples(2):
                request = self.request(tmp_path, each, now)
                first, again = account().parse(request), account().parse(request)
                self.same(each, self.by_text(first.messages))
                assert _ids(first) == _ids(again), "the same request brings a message under another id"

    def test_a_request_that_the_service_did_not_make_is_refused(
        self, tmp_path: Path, account: Callable[[], OpenChannel]
    ) -> None:
        if not self.can("webhook"):
            return
        now = datetime.now(UTC)
        request, channel = self.request(tmp_path, self.samples(1)[0], now), account()
        forged = [attrs.evolve(request, headers={}), attrs.evolve(request, body=request.body + b" ")]
        forged += [attrs.evolve(request, headers=dict.fromkeys(request.headers, "0"))]
        forged += [attrs.evolve(request, body=content, headers={}) for content in _GARBAGE]
        forged += [attrs.evolve(request, body=content) for content in _GARBAGE]
        for each in forged:
            with pytest.raises(RequestRefused):
                channel.parse(each)

    # Going out

    def test_a_message_reaches_the_other_side(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("send"):
            sent = [self.outgoing(number) for number in range(3)]
            names = [account().send(each).provider_id for each in sent]
            assert sorted(each.message_id for each in sent) == sorted(self.arrived(tmp_path))
            known = [each for each in names if each]
            assert len(known) == len(set(known)), f"two messages have one provider_id: {names}"
            arrived = self.arrived_texts(tmp_path)
            for each in sent if arrived is not None else ():
                found = [text for text in arrived or () if each.text in text.replace("\r\n", "\n")]
                assert found, f"{each.text!r} did not arrive whole: {arrived}"

    def test_a_repetition_has_the_same_message_id(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("send"):
            for _ in range(2):  # killed before the receipt was stored: the second process sends it again
                account().send(self.outgoing(1))
            assert {"<m1@example.org>"} == set(self.arrived(tmp_path))

    def test_a_receipt_names_the_message_it_is_of(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        if self.can("receipts"):
            channel, message = account(), self.outgoing(1)
            receipt = channel.send(message)
            brought = self.bring_receipt(tmp_path, channel, message.message_id, receipt).receipts
            known = {message.message_id, receipt.provider_id} - {""}
            assert [True] == [each.message_id in known for each in brought], f"one receipt of {known}, not {brought}"
            assert ["delivered"] == [each.status for each in brought]

    # Faults and secrets

    def test_faults_are_told_apart(self, tmp_path: Path, account: Callable[[], OpenChannel]) -> None:
        faults = self.faults(tmp_path)
        only_called = not (self.can("poll") or self.can("send"))  # such a one has no other side that could be away
        away = only_called or any(fault.error is TryLater for fault in faults)
        assert away, "faults() names no way in which the service is away"
        told = not self.can("send") or any((fault.error, fault.call) == (TryLater, "send") for fault in faults)
        assert told, "faults() names no way in which the service is away when something is sent: it would be lost"
        for fault in faults:
            assert fault.error in (TryLater, MessageRejected, CredentialsWrong), f"{fault.error} is none of a channel's"
            fault.make()
            for call in (fault.call, *(["listen"] if fault.call == "poll" and self.can("listen") else [])):
                with pytest.raises(fault.error) as caught:
                    self.called(account(), call)
                assert caught.value.message, "an error without words"

    def test_no_secret_is_ever_shown(
        self, tmp_path: Path, account: Callable[[], OpenChannel], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        channel = account()
        shown = [repr(channel), repr(channel._channel), str(channel._channel)]
        shown += [repr(value) for value in vars(channel._channel).values()]
        calls = [call for call in ("poll", "listen", "send") if self.can(call)]
        for call in ["check", *calls]:
            shown.append(_told(lambda call=call: self.called(account(), call)))  # type: ignore[misc]
        for fault in self.faults(tmp_path):
            fault.make()
            shown.append(_told(lambda fault=fault: self.called(account(), fault.call)))  # type: ignore[misc]
        shown += [record.getMessage() for record in caplog.records]
        assert [] == [text for text in shown if self.secret in text]

    # What the tests are made of

    def can(self, capability: str) -> bool:
        """Return whether the channel declares a capability; its tests are none without it."""
        return capability in self._type.capabilities

    def samples(self, count: int) -> list[IncomingMessage]:
        """Return messages of several scripts, the oldest first."""
        texts = ("Where is my order?", "سلام، سفارش ۱۲۳ کجاست؟\nبا احترام", "Բարեւ 👋🏽", "=cmd()|' '!A0 <b>&amp;</b>")
        return [
            IncomingMessage(
                external_id=f"<in-{number}@example.org>",
                sender=Address(kind=self.kind_of_address(), value=f"sender{number}@example.org"),
                at=datetime(2026, 1, 1 + number // 2 % 28, 12, number // 56, tzinfo=UTC),  # two in one second
                subject=f"درخواست {number}",
                text=f"{texts[number % len(texts)]} {number}.",
                thread=f"thread-{number}" if self.can("threads") else "",
                attachments=(
                    (Attachment(name="فاکتور.pdf", type="application/pdf", content=b"%PDF\x00\xff" * 9),)
                    if self.can("attachments") and number % 2
                    else ()
                ),
            )
            for number in range(count)
        ]

    def outgoing(self, number: int) -> OutgoingMessage:
        """Return a message to be sent."""
        return OutgoingMessage(
            message_id=f"<m{number}@example.org>", recipient=self.recipient(), subject="پاسخ", text="سلام\nHello"
        )

    def all_of(self, channel: OpenChannel) -> list[IncomingMessage]:
        """Poll from the start until there is no more."""
        found: list[IncomingMessage] = []
        cursor = ""
        for _ in range(_LONGEST):
            received = channel.poll(cursor)
            found += received.messages
            if not received.more:
                return found
            assert received.cursor != cursor, "there is more, and the cursor stands still"
            cursor = received.cursor
        raise AssertionError(f"after {_LONGEST} polls there is still more")

    def by_text(self, messages: Sequence[IncomingMessage]) -> dict[str, IncomingMessage]:
        """Return messages by their text."""
        return {each.text.strip(): each for each in messages}

    def same(self, sent: IncomingMessage, found: Mapping[str, IncomingMessage]) -> None:
        """Compare what came in with what was sent."""
        assert sent.text in found, f"{sent.text!r} did not come in; there are {list(found)}"
        came = found[sent.text]
        assert (sent.sender.kind, sent.sender.value) == (came.sender.kind, came.sender.value)
        if self.can("threads"):
            assert sent.thread == came.thread
        if self.can("attachments"):
            assert [(each.name, each.content) for each in sent.attachments] == [
                (each.name, each.content) for each in came.attachments
            ]

    def complete(self, count: int, messages: Sequence[IncomingMessage]) -> None:
        """Make sure that so many samples came in, each under one id."""
        wanted = {each.text for each in self.samples(count)}
        texts = [each.text.strip() for each in {one.external_id: one for one in messages}.values()]
        assert set() == wanted - set(texts), "messages were lost"
        assert len(texts) == len(set(texts)), "a message has several ids, so it would be stored several times"

    def hears(self, channel: OpenChannel, cursor: str) -> bool:
        """Listen for a while, again after a false alarm without a message."""
        ends = monotonic() + 5 * _PROMPT
        while monotonic() < ends:
            if channel.listen(cursor, ends - monotonic(), lambda: False):
                return True
        return False

    def called(self, channel: OpenChannel, call: str) -> object:
        """Make one call."""
        calls: dict[str, Callable[[], object]] = {
            "poll": lambda: channel.poll(""),
            "listen": lambda: channel.listen("", 1.0, lambda: False),
            "send": lambda: channel.send(self.outgoing(1)),
            "check": channel.check,
        }
        return calls[call]()


def _ids(received: Received) -> list[str]:
    return [each.external_id for each in received.messages]


def _told(call: Callable[[], object]) -> str:
    """Return all that a call shows: what it returns, or the error with its hint and details."""
    try:
        return repr(call())
    except CrmError as error:
        return f"{error!r} {error.message} {error.hint} {error.details} {error.args}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
