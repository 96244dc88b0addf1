"""Channels: how messages come in and go out, and the neutral values in which a channel and the CRM speak of them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Self

import attrs

from crm_core.errors import InvalidValue
from crm_core.records import CONTACT_KINDS

ChannelCapability = Literal["send", "poll", "listen", "webhook", "receipts", "attachments", "threads"]
DeliveryStatus = Literal["sent", "delivered", "read", "failed"]
Automatic = Literal["", "reply", "bounce", "bulk"]
Wish = Literal["", "stop", "start"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_LINE_BREAK: Final = re.compile(r"[\r\n\x00\x85\u2028\u2029]")


def _filled(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value.strip():
        name = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidValue(f"{name} is empty", field=attribute.name, rule="filled")


def _one_line(instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
    """Refuse what would begin a header of its own."""
    if not isinstance(value, str) or _LINE_BREAK.search(value):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidValue(f"{name} must be one line of text", field=attribute.name, rule="one_line")


def _one_line_each(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    for each in (*value.keys(), *value.values()) if isinstance(value, Mapping) else value:
        _one_line(instance, attribute, each)


def _aware(instance: Any, attribute: attrs.Attribute[Any], value: datetime | None) -> None:
    if value is not None and (not isinstance(value, datetime) or value.utcoffset() is None):
        name = f"{type(instance).__name__}.{attribute.name}"
        raise InvalidValue(f"{name} is {value!r}, expected a time with its zone", field=attribute.name, rule="aware")


@attrs.frozen(kw_only=True)
class Address:
    """Whom a message is from or for: the kind of a contact point, its value, and the name that goes with it."""

    kind: str = attrs.field(validator=attrs.validators.in_(CONTACT_KINDS))
    value: str = attrs.field(validator=[_filled, _one_line])
    name: str = attrs.field(default="", validator=_one_line)


@attrs.frozen(kw_only=True)
class Attachment:
    """A file that goes with a message; `name` is as the sender gave it, and not to be trusted."""

    name: str
    type: str = "application/octet-stream"
    content: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class IncomingMessage:
    """A message or a call as a channel found it.

    Args:
        external_id: what the channel calls it; the same at every poll and webhook, another one for another message.
        sender: who wrote or called; of one that went out, whom it went to.
        at: when, with its zone; None if the channel does not know.
        subject: its subject; empty where the channel has none.
        text: its text, whole: quotes and signatures are separated later.
        thread: the channel's own id of the conversation; empty where it has none.
        reference: the id that replies name, such as the Message-ID of a mail; empty: the external id.
        replies_to: the references of the messages that it answers, the nearest first.
        attachments: its files.
        headers: what else the channel says of it, by lower-case name; of a mail all headers that matter to RFC 3834.
        automatic: whether the channel knows that no person wrote it: "reply", "bounce" or "bulk".
        kind: "call" for a call, and then
        duration: how long it took, in seconds; None if nobody answered.
        direction: "out" for what we sent by another way than the outbox, as a mail in the folder of sent mails or a
            call that a colleague made: it needs no answer and makes no lead; then
        recipient: whom it went to; None where `sender` says that.
        others: whom else it went to; it is on the card of each of them who is known.
        wish: "stop" if it says, as a whole, that its sender wants no more messages, "start" if some again: consent
            follows, and what did nothing else needs no answer.
    """

    external_id: str = attrs.field(validator=_filled)
    sender: Address
    at: datetime | None = attrs.field(default=None, validator=_aware)
    subject: str = ""
    text: str = ""
    thread: str = ""
    reference: str = ""
    replies_to: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str] = _NOTHING
    automatic: Automatic = ""
    kind: Literal["message", "call"] = "message"
    duration: int | None = None
    direction: Literal["in", "out"] = "in"
    recipient: Address | None = None
    others: tuple[Address, ...] = ()
    wish: Wish = ""


@attrs.frozen(kw_only=True)
class OutgoingMessage:
    """A message that is to leave. Nothing in it can begin a header of its own: what has a line break is refused.

    Args:
        message_id: ours; the same at every attempt, so that a service or a recipient may notice a repetition.
        recipient: who gets it.
        subject: its subject, one line; empty where the channel has none.
        text: its text.
        html: the same as HTML, for channels that show it; the others leave it out.
        thread: the channel's id of the conversation, if it goes on with one.
        replies_to: references of the messages that it answers, the nearest first.
        attachments: its files.
        headers: headers to be set by a channel that has such, by name.
        automatic: whether no person wrote it; a mail then says `Auto-Submitted` (RFC 3834).
    """

    message_id: str = attrs.field(validator=[_filled, _one_line])
    recipient: Address
    subject: str = attrs.field(default="", validator=_one_line)
    text: str = ""
    html: str = ""
    thread: str = attrs.field(default="", validator=_one_line)
    replies_to: tuple[str, ...] = attrs.field(default=(), validator=_one_line_each)
    attachments: tuple[Attachment, ...] = ()
    headers: Mapping[str, str] = attrs.field(default=_NOTHING, validator=_one_line_each)
    automatic: bool = False


@attrs.frozen(kw_only=True)
class Receipt:
    """What `send` returns: the service took the message and calls it `provider_id`; `thread` if it names one."""

    provider_id: str = ""
    thread: str = ""


@attrs.frozen(kw_only=True)
class StatusReceipt:
    """What a service says later of a message: `message_id` is ours, or the `provider_id` of its receipt.

    `unsubscribed` says of one that failed that the recipient told the service to take none: consent is withdrawn.
    """

    message_id: str = attrs.field(validator=_filled)
    status: DeliveryStatus
    at: datetime | None = attrs.field(default=None, validator=_aware)
    reason: str = ""
    unsubscribed: bool = False


@attrs.frozen(kw_only=True)
class Received:
    """What came in. `cursor` is where the next poll goes on; `more` says that there is more at once.

    `trouble` says in words what is wrong though the rest came in, a folder that is gone, say: it is shown, and the
    account is polled on. `reply` is what the answer to a webhook's request says, where the service asks for something:
    the challenge, say, by which it proves the address.
    """

    messages: Sequence[IncomingMessage] = ()
    receipts: Sequence[StatusReceipt] = ()
    cursor: str = ""
    more: bool = False
    trouble: str = ""
    reply: str = ""


@attrs.frozen(kw_only=True)
class WebhookRequest:
    """An HTTP request to a webhook, as it came: names of headers in lower case, the body raw."""

    method: str = "POST"
    path: str = "/"
    query: Mapping[str, str] = _NOTHING
    headers: Mapping[str, str] = _NOTHING
    body: bytes = attrs.field(default=b"", repr=False)
    received_at: datetime = attrs.field(validator=_aware)


class Channel(ABC):
    """One open account of a channel. Override what the declared capabilities name.

    Every method may raise `TryLater`, `MessageRejected` (of `send`) or `CredentialsWrong`; whatever else it raises
    counts as `TryLater`. No message of an error needs to hide a secret of the settings: what shows it takes it out.
    """

    def send(self, message: OutgoingMessage) -> Receipt:
        """Hand a message over to the service, which then has it for good.

        Called again with the same `message_id` when it is not known whether the service took it.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot send")

    def poll(self, cursor: str) -> Received:
        """Return what came in behind `cursor` ("" at first): some hundred messages at most, and where to go on.

        Nothing may be given up at the service before a later poll names the new cursor: whoever polled may have been
        killed. So the same cursor gives the same messages again, under the same ids; too many are better than too few.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be polled")

    def listen(self, cursor: str, seconds: float, stopping: Callable[[], bool]) -> bool:
        """Wait until something may have come in behind `cursor`, for so many seconds at most; whether it has.

        For a service that can say so by itself: IDLE of a mailbox, a long poll. Nothing is taken out: `poll` follows,
        and too many of those are better than too few. It comes back soon after `stopping()` says so, which it asks
        every few seconds. Each account has a thread of its own for this; `poll` is called in the same one.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot listen")

    def parse(self, request: WebhookRequest) -> Received:
        """Return what a request to the webhook brings, after it was proved to come from the service.

        Raises:
            RequestRefused: it is not signed, forged, too old, or nothing that the service sends.
        """
        raise NotImplementedError(f"{type(self).__name__} has no webhook")

    @abstractmethod
    def check(self) -> str:
        """Try the settings without sending anything; returns in words what was reached."""

    def close(self) -> None:
        """Give back connections."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@attrs.frozen(kw_only=True)
class ChannelAccount:
    """What a channel is opened with: the account's name, its typed settings, and the workspace's directory."""

    name: str
    settings: Any
    directory: Path | None = None


@attrs.frozen(kw_only=True)
class ChannelType:
    """What a plugin hands over: a channel by its name, and how an account of it is opened.

    Args:
        name: what `type` says in `[channels.<account>]`, and `channel` of an interaction.
        label: for people.
        address_kind: the kind of contact point that its messages go to.
        settings: an attrs class, one field a key of the table; secrets are fields of type `Secret`.
        open: makes a `Channel` of an account. It connects when it is first used, not before.
        capabilities: what the channel can do.
        help: a sentence.
    """

    RESERVED: ClassVar[frozenset[str]] = frozenset({"type", "every", "per_minute", "quiet_hours"})
    """Keys of the table that are not the channel's."""

    name: str
    label: str
    address_kind: str = attrs.field(validator=attrs.validators.in_(CONTACT_KINDS))
    settings: type
    open: Callable[[ChannelAccount], Channel]
    capabilities: frozenset[ChannelCapability]
    help: str = ""
