"""Channels that each break one promise, for the tests of the kit; the folder of `crm-channel-folder` done wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable

import attrs

from crm_channel_folder.channel import FolderChannel, FolderSettings
from crm_core import hookimpl
from crm_core.errors import CredentialsWrong, TryLater
from crm_core.extend import Channel, ChannelAccount, ChannelType, OutgoingMessage, Receipt, Received, WebhookRequest


class GivesUpWhatItRead(FolderChannel):
    """Deletes a message when it is polled, before anybody has stored it."""

    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        for path in self._place("in").iterdir():
            path.unlink()
        return found


class MakesUpIds(FolderChannel):
    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        return attrs.evolve(found, messages=[attrs.evolve(m, external_id=str(uuid.uuid4())) for m in found.messages])


class SkipsWhatIsLate(FolderChannel):
    """Takes the time that a message says for its place in the order."""

    def poll(self, cursor: str) -> Received:
        found = super().poll("")
        messages = [m for m in found.messages if m.at is not None and m.at.isoformat() > cursor]
        reached = max((m.at.isoformat() for m in messages if m.at is not None), default=cursor)
        return attrs.evolve(found, messages=messages, cursor=reached, more=False)


class ForgetsThePage(FolderChannel):
    def poll(self, cursor: str) -> Received:
        return attrs.evolve(super().poll(cursor), more=False)


class StandsStill(FolderChannel):
    def poll(self, cursor: str) -> Received:
        return attrs.evolve(super().poll(cursor), cursor=cursor, more=True)


class StumblesOverGarbage(FolderChannel):
    def poll(self, cursor: str) -> Received:
        for path in self._place("in").iterdir():
            path.read_text("utf-8")
        return super().poll(cursor)


class ShowsItsSecret(FolderChannel):
    def __init__(self, account: ChannelAccount) -> None:
        super().__init__(account)
        self.key = self._settings.key.reveal()


class BelievesEveryRequest(FolderChannel):
    def parse(self, request: WebhookRequest) -> Received:
        return Received()


class NumbersEachAttempt(FolderChannel):
    def send(self, message: OutgoingMessage) -> Receipt:
        return super().send(attrs.evolve(message, message_id=f"{message.message_id}.{uuid.uuid4()}"))


class TakesEveryFaultForCredentials(FolderChannel):
    def poll(self, cursor: str) -> Received:
        try:
            return super().poll(cursor)
        except TryLater as error:
            raise CredentialsWrong(error.message) from None


class TakesEveryReceiptForRead(FolderChannel):
    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        return attrs.evolve(found, receipts=[attrs.evolve(each, status="read") for each in found.receipts])


class TakesTheTimeForTheId(FolderChannel):
    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        return attrs.evolve(found, messages=[attrs.evolve(m, external_id=f"{m.at}") for m in found.messages])


class TakesTheWordsForTheId(FolderChannel):
    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        named = [attrs.evolve(m, external_id=f"{m.sender.value} {m.text}") for m in found.messages]
        return attrs.evolve(found, messages=named)


class DropsFiles(FolderChannel):
    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        return attrs.evolve(found, messages=[attrs.evolve(m, attachments=()) for m in found.messages])


class LosesThreads(FolderChannel):
    def parse(self, request: WebhookRequest) -> Received:
        found = super().parse(request)
        return attrs.evolve(found, messages=[attrs.evolve(m, thread="") for m in found.messages])


class TellsReceiptsTwice(FolderChannel):
    def poll(self, cursor: str) -> Received:
        found = super().poll(cursor)
        return attrs.evolve(found, receipts=[*found.receipts, *found.receipts])


class NamesAllAlike(FolderChannel):
    def send(self, message: OutgoingMessage) -> Receipt:
        super().send(message)
        return Receipt(provider_id="accepted")


class CutsWhatItSends(FolderChannel):
    def send(self, message: OutgoingMessage) -> Receipt:
        return super().send(attrs.evolve(message, text=message.text[:4]))


class SaysThatItWasSent(FolderChannel):
    """Takes every fault of the service for done, so that what was to leave is lost."""

    def send(self, message: OutgoingMessage) -> Receipt:
        try:
            return super().send(message)
        except TryLater:
            return Receipt()


class CannotSend(FolderChannel):
    send = Channel.send


FAULTY: tuple[Callable[[ChannelAccount], Channel], ...] = (
    GivesUpWhatItRead,
    MakesUpIds,
    SkipsWhatIsLate,
    ForgetsThePage,
    StandsStill,
    StumblesOverGarbage,
    ShowsItsSecret,
    BelievesEveryRequest,
    NumbersEachAttempt,
    TakesEveryFaultForCredentials,
    TakesEveryReceiptForRead,
    TakesTheTimeForTheId,
    TakesTheWordsForTheId,
    DropsFiles,
    LosesThreads,
    TellsReceiptsTwice,
    NamesAllAlike,
    CutsWhatItSends,
    SaysThatItWasSent,
    CannotSend,
)


class FaultyPlugin:
    @hookimpl
    def register_channels(self) -> Iterable[ChannelType]:
        return [
            ChannelType(
                name=getattr(one, "__name__", ""),
                label="Faulty",
                address_kind="email",
                settings=FolderSettings,
                open=one,
                capabilities=frozenset({"send", "poll", "webhook", "receipts", "attachments", "threads"}),
            )
            for one in FAULTY
        ]


plugin = FaultyPlugin()
