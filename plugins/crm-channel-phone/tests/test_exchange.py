"""The exchange: its protocol over a real socket, its events, and a listener that nothing stops."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import attrs
import pytest

from crm_channel_phone.calls import Call, Numbering
from crm_channel_phone.journal import Journal
from crm_channel_phone.listening import Listener
from crm_channel_phone.manager import AmiSettings, Manager
from crm_channel_phone.packets import Packets, written
from crm_channel_phone.tracking import Tracker
from crm_core import CRM
from crm_core.errors import CredentialsWrong, TryLater
from crm_core.extend import Address, IncomingMessage
from crm_core.settings import Secret
from crm_core.testing import ChannelContract, ChannelFault
from tests.mail import make_certificate

from .fakes import FakeManager

AT = datetime(2026, 11, 22, 9, tzinfo=UTC)
SECRET = "canary-5f2d9c1b7e"


def until(found: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def incoming(name: str, number: str = "09123456789", **more: str) -> list[dict[str, str]]:
    """The events of a call from outside to 101, who answers if `spoke` says how long."""
    spoke = more.pop("spoke", "")
    linked = {"Linkedid": name}
    first = {"Uniqueid": name, **linked, "Channel": "PJSIP/trunk-1", "CallerIDNum": number, "CallerIDName": "سارا"}
    second = {"Uniqueid": f"b{name}", **linked, "Channel": "PJSIP/101-1"}
    dest = {"DestUniqueid": f"b{name}", "DestLinkedid": name, "DestChannel": "PJSIP/101-1"}
    events = [
        {"Event": "Newchannel", **first, "Exten": "02112345678", "Context": "from-trunk", **more},
        {"Event": "Newchannel", **second, "CallerIDNum": "", "Exten": "s", "Context": "from-internal"},
        {"Event": "DialBegin", **first, **dest},
    ]
    if spoke:
        events.append({"Event": "DialEnd", **first, **dest, "DialStatus": "ANSWER"})
    return [*events, {"Event": "Hangup", **second, "Cause": "16"}, {"Event": "Hangup", **first, "Cause": "16"}]


def tracked(events: Sequence[Mapping[str, str]], step: int = 5, tracker: Tracker | None = None) -> list[Call]:
    watching = tracker or Tracker(Numbering())
    found: list[Call] = []
    for number, each in enumerate(events):
        lowered = {name.casefold(): value for name, value in each.items()}
        found += watching.feed(lowered, AT + timedelta(seconds=step * number))
    return found


# The channel before the kit


class TestTheContract(ChannelContract):
    channel = "phone-ami"

    @pytest.fixture(autouse=True)
    def _listened(self, tmp_path: Path) -> Iterator[None]:
        self.fake = FakeManager("crm", self.secret)
        self.journal = Journal(tmp_path, "tested")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CRM_TESTED_SECRET", self.secret)
            with Listening(self.fake, self.journal) as self.stop:
                until(lambda: self.fake.listeners)
                yield
        self.fake.close()

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        return {"host": "127.0.0.1", "port": self.fake.port, "user": "crm", "secret": secret}

    def samples(self, count: int) -> list[IncomingMessage]:
        """An exchange tells no text: what a call is known by is the extension that it rang at."""
        return [
            attrs.evolve(
                each,
                external_id=f"1767225600.{number}",
                sender=Address(kind="phone", value=f"0912{number:07}"),
                subject="",
                text=f"rang at e{number}",
                thread=f"0912{number:07}",
            )
            for number, each in enumerate(super().samples(count))
        ]

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        events = incoming(message.external_id, message.sender.value)
        second = [{**each, "Channel": f"PJSIP/e{message.external_id.partition('.')[2]}-1"} for each in events[1:2]]
        before = self.journal.path.stat().st_size
        known = f'"{message.external_id}"'.encode() in self.journal.path.read_bytes()
        self.fake.push(events[0], *second, *events[2:])
        if not known:
            until(lambda: self.journal.path.stat().st_size > before)

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        if number % 2:
            with self.journal.path.open("ab") as file:
                file.write(content.replace(b"\n", b"") + b"\n")
        else:
            self.fake.push_raw(content + b"\r\n\r\n")

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        def end() -> None:
            self.stop()

        def other() -> None:
            self.fake._secret = "another"

        return [
            ChannelFault(error=TryLater, make=end),
            ChannelFault(error=CredentialsWrong, call="check", make=other),
            ChannelFault(error=TryLater, call="check", make=self.fake.close),
        ]


class Listening:
    """A listener on a thread, until the end of the `with`."""

    def __init__(self, fake: FakeManager, journal: Journal, quiet: float = 30.0, **more: Any) -> None:
        self._stopped = Event()
        settings = settings_of(fake, **more)
        pauses = (0.05, 0.1)
        self.listener = Listener(
            "tested", settings, journal, lambda text: text.replace(SECRET, "***"), pauses=pauses, quiet=quiet
        )
        self._thread = Thread(target=self.listener.run, args=(self._stopped,))

    def __enter__(self) -> Callable[[], None]:
        self._thread.start()
        return self.stop

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop()


def settings_of(fake: FakeManager, **more: Any) -> AmiSettings:
    secret = Secret.at({"env": "CRM_TESTED_SECRET"}, directory=None)
    return AmiSettings(**{"host": "127.0.0.1", "port": fake.port, "user": "crm", "secret": secret, **more})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeManager]:
    monkeypatch.setenv("CRM_TESTED_SECRET", SECRET)
    server = FakeManager("crm", SECRET)
    yield server
    server.close()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, "tested")


def lines(journal: Journal) -> int:
    return journal.path.read_bytes().count(b"\n") if journal.path.exists() else 0


# The protocol


@pytest.mark.parametrize("login", ["md5", "plain"])
def test_it_logs_in_and_the_challenge_keeps_the_secret(fake: FakeManager, login: str) -> None:
    with Manager(settings_of(fake, login=login)) as manager:
        assert "Asterisk Call Manager/6.0.0" == manager.version
    sent = [value for each in fake.asked for value in each.values()]
    assert (SECRET in sent) == (login == "plain")


@pytest.mark.parametrize("login", ["md5", "plain"])
def test_a_wrong_secret_is_told_and_not_shown(fake: FakeManager, monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    monkeypatch.setenv("CRM_TESTED_SECRET", "wrong-secret")
    with pytest.raises(CredentialsWrong, match="does not let crm in: Authentication failed") as caught:
        Manager(settings_of(fake, login=login))
    assert "wrong-secret" not in f"{caught.value!r} {caught.value.hint}"


def test_a_secret_with_a_line_break_begins_no_action(fake: FakeManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_TESTED_SECRET", "x\r\n\r\nAction: Originate\r\nChannel: Local/1")
    with pytest.raises(CredentialsWrong, match="line break"):
        Manager(settings_of(fake, login="plain"))
    assert [] == fake.asked
    for user in ("a\r\nAction: Originate", "a\nb", "a\x00b", ""):
        with pytest.raises(ValueError, match="one line"):
            settings_of(fake, user=user)


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH\r\n", b"\xff" * 500, b"\r\n"])
def test_what_is_no_exchange_is_told(fake: FakeManager, greeting: bytes) -> None:
    fake.greeting = greeting
    with pytest.raises(TryLater, match="no Asterisk manager interface"):
        Manager(settings_of(fake))


def test_an_exchange_that_is_away_is_tried_later(fake: FakeManager) -> None:
    fake.close()
    with pytest.raises(TryLater, match="does not answer"):
        Manager(settings_of(fake))


def test_packets_are_whole_however_their_bytes_come() -> None:
    content = "Event: Hangup\r\nChannel: پ/1\r\nX: a: b\r\n\r\n\r\nno packet\r\n\r\nResponse: Success\n\n".encode()
    wanted = [{"event": "Hangup", "channel": "پ/1", "x": "a: b"}, {"response": "Success"}]
    for size in (1, 2, 3, 7, 1000):
        packets = Packets()
        found = [each for at in range(0, len(content), size) for each in packets.feed(content[at : at + size])]
        assert wanted == found


def test_a_line_without_an_end_costs_no_memory_and_no_packet() -> None:
    packets = Packets()
    for _ in range(100):
        assert [] == list(packets.feed(b"x" * 10_000))
    assert len(packets._rest) <= 80_000
    assert [{"event": "A"}] == list(packets.feed(b"\r\nEvent: A\r\n\r\n"))


def test_no_field_begins_another() -> None:
    with pytest.raises(CredentialsWrong):
        written({"Action": "Login", "Secret": "a\nAction: Originate"})


# Events


def test_a_call_is_over_when_its_last_channel_hangs_up() -> None:
    (missed,) = tracked(incoming("1.1"))
    assert ("1.1", "in", "09123456789", "سارا", AT, None, ("101",)) == (
        missed.id,
        missed.direction,
        missed.number,
        missed.name,
        missed.at,
        missed.duration,
        missed.ours,
    )
    (answered,) = tracked(incoming("1.2", spoke="yes"))
    assert (10, ("101",)) == (answered.duration, answered.ours)


def test_a_bridge_of_two_is_an_answer_and_an_announcement_is_none() -> None:
    events = incoming("1.1")
    alone = {"Event": "BridgeEnter", "Uniqueid": "1.1", "Linkedid": "1.1", "BridgeNumChannels": "1"}
    assert [None] == [each.duration for each in tracked([*events[:3], alone, *events[3:]])]
    both = {**alone, "Uniqueid": "b1.1", "BridgeNumChannels": "2"}
    assert [10] == [each.duration for each in tracked([*events[:3], alone, both, *events[3:]], step=5)]
    waiting = {**both, "BridgeTechnology": "holding_bridge", "BridgeType": "parking"}
    assert [None] == [each.duration for each in tracked([*events[:3], alone, waiting, *events[3:]])]


def test_a_call_of_ours_goes_out_and_one_within_the_house_is_none() -> None:
    out = incoming("1.1", "101", Exten="02188776655", Context="from-internal")
    assert [("out", "02188776655", ("101",))] == [(each.direction, each.number, each.ours) for each in tracked(out)]
    assert [] == tracked(incoming("1.2", "101", Exten="102"))


def test_a_ring_group_is_one_call() -> None:
    events = incoming("1.1", spoke="yes")
    others = [
        {"Event": "Newchannel", "Uniqueid": f"1.1{n}", "Linkedid": "1.1", "Channel": f"PJSIP/10{n}-1"} for n in (2, 3)
    ]
    hung = [{"Event": "Hangup", "Uniqueid": f"1.1{n}", "Linkedid": "1.1"} for n in (2, 3)]
    (found,) = tracked([*events[:3], *others, *events[3:4], *hung, *events[4:]])
    assert ("1.1", ("101",)) == (found.id, found.ours)


def test_a_transfer_stays_the_call_that_it_was() -> None:
    """101 asks 102 on a call of its own, and joins it with the caller's: the exchange gives it that one's id."""
    events = incoming("1.1", spoke="yes")
    asking = [
        {"Event": "Newchannel", "Uniqueid": "2.1", "Linkedid": "2.1", "Channel": "PJSIP/101-2", "CallerIDNum": "101"},
        {"Event": "Newchannel", "Uniqueid": "2.2", "Linkedid": "2.1", "Channel": "PJSIP/102-1"},
        {"Event": "BridgeEnter", "Uniqueid": "2.2", "Linkedid": "1.1", "BridgeNumChannels": "2"},
        {"Event": "Hangup", "Uniqueid": "2.1", "Linkedid": "2.1"},
    ]
    end = {"Event": "Hangup", "Uniqueid": "2.2", "Linkedid": "1.1"}
    record = {"Event": "Cdr", "UniqueID": "2.1", "Source": "09123456789", "StartTime": "2026-11-22 09:00:00"}
    tracker = Tracker(Numbering())
    (found,) = tracked([*events[:4], *asking, *events[4:], end, record, *incoming("3.1")[:1]], tracker=tracker)
    assert ("1.1", ("101", "102")) == (found.id, found.ours)
    assert [] == tracker.tick(AT + timedelta(hours=9))


def test_events_before_asterisk_12_are_understood() -> None:
    events = [
        {"Event": "Newchannel", "Uniqueid": "1.1", "Channel": "SIP/trunk-1", "CallerIDNum": "", "Exten": "100"},
        {"Event": "NewCallerid", "Uniqueid": "1.1", "CallerIDNum": "0912", "CallerIDName": "سارا"},
        {"Event": "Newchannel", "Uniqueid": "1.2", "Channel": "SIP/101-2", "CallerIDNum": "", "Exten": ""},
        {"Event": "Dial", "SubEvent": "Begin", "UniqueID": "1.1", "DestUniqueID": "1.2"},
        {"Event": "Bridge", "Bridgestate": "Link", "Uniqueid1": "1.1", "Uniqueid2": "1.2"},
        {"Event": "Dial", "SubEvent": "End", "UniqueID": "1.1", "DialStatus": "ANSWER"},
        {"Event": "Hangup", "Uniqueid": "1.2"},
        {"Event": "Hangup", "Uniqueid": "1.1"},
    ]
    numbering = Numbering(extension_digits=3)
    (found,) = tracked(events, tracker=Tracker(numbering))
    assert ("1.1", "0912", "سارا", 15, ("101",)) == (found.id, found.number, found.name, found.duration, found.ours)


def test_a_record_of_a_call_that_nobody_saw_is_a_call_and_of_another_it_is_none() -> None:
    record = {
        "Event": "Cdr", "Source": "09123456789", "Destination": "101", "DestinationContext": "from-trunk",
        "DestinationChannel": "PJSIP/101-1", "StartTime": "2026-11-22 09:00:00", "EndTime": "2026-11-22 09:00:30",
        "Duration": "30", "BillableSeconds": "20", "Disposition": "ANSWERED", "UniqueID": "7.1",
    }  # fmt: skip
    rang = {**record, "BillableSeconds": "0", "Disposition": "NO ANSWER", "DestinationChannel": "PJSIP/102-1"}
    seen = {**record, "UniqueID": "1.1"}
    tracker = Tracker(Numbering())
    assert ["1.1"] == [each.id for each in tracked([*incoming("1.1"), rang, record, seen], step=0, tracker=tracker)]
    assert [("7.1", 20, ("101",))] == [(each.id, each.duration, each.ours) for each in tracker.tick(AT + timedelta(9))]
    assert [] == tracked([record], tracker=tracker) + tracker.tick(AT + timedelta(days=19))


def test_events_in_any_order_and_of_any_kind_raise_nothing() -> None:
    events = [
        {"event": name} for name in ("Newchannel", "Hangup", "Dial", "DialEnd", "Bridge", "Cdr", "BridgeEnter", "")
    ]
    events += [{**each, "Uniqueid": "1", "Linkedid": "2", "BridgeNumChannels": "²"} for each in events]
    for order in (events, events[::-1], events * 3):
        tracked([*order, *incoming("9.9")])


def test_calls_that_never_end_do_not_grow_without_bound() -> None:
    tracker = Tracker(Numbering())
    for number in range(10_050):
        tracker.feed({"event": "Newchannel", "uniqueid": f"1.{number}", "calleridnum": "0912"}, AT)
    assert 10_000 == tracker.under_way


# The listener


def test_it_connects_again_and_tells_what_ended_meanwhile(fake: FakeManager, journal: Journal) -> None:
    with Listening(fake, journal):
        until(lambda: fake.listeners)
        fake.push(*incoming("1.1")[:-2], *incoming("1.2")[:-2])
        fake.push(*incoming("1.3"))
        until(lambda: lines(journal) == 1)
        fake.under_way = [{"Uniqueid": "1.2", "Linkedid": "1.2"}, {"Uniqueid": "b1.2", "Linkedid": "1.2"}]
        fake.drop()
        until(lambda: lines(journal) == 2 and fake.listeners)
        assert [True, True] == [each in journal.path.read_text() for each in ('"1.1"', "its end was not seen")]
        fake.push(*incoming("1.2")[-2:])
        until(lambda: lines(journal) == 3)


def test_an_exchange_that_falls_silent_is_left(fake: FakeManager, journal: Journal) -> None:
    with Listening(fake, journal, quiet=0.5):
        until(lambda: fake.logins)
        until(lambda: any(each["Action"] == "Ping" for each in fake.asked))
        fake.answers = False
        until(lambda: "silent" in getattr(journal.state(), "told", ""))
        fake.answers = True
        logins = fake.logins
        until(lambda: fake.logins > logins)


def test_no_poll_waits_for_an_exchange(fake: FakeManager, tmp_path: Path) -> None:
    """One that takes connections and says nothing holds up its listener, and no other channel."""
    fake.greeting = b""
    account = f'type = "phone-ami"\nhost = "127.0.0.1"\nport = {fake.port}\nuser = "crm"\n'
    secret = 'secret = {env = "CRM_TESTED_SECRET"}\n'
    (tmp_path / "crm.toml").write_text(f'[storage]\nurl = "memory:"\n[channels.tested]\n{account}{secret}', "utf-8")
    with CRM.open(tmp_path) as crm, crm.channels.open("tested") as channel:
        begun = time.monotonic()
        with pytest.raises(TryLater, match="nobody listens") as caught:
            channel.poll("")
    assert "crm calls listen" in caught.value.hint
    assert time.monotonic() - begun < 2
    assert 0 == fake.logins == len(fake._open)


def test_wrong_credentials_are_not_tried_over_and_over(
    fake: FakeManager, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_TESTED_SECRET", "wrong-secret")
    with Listening(fake, journal):
        until(lambda: journal.state())
        time.sleep(0.5)
        assert 1 == sum(each["Action"] == "Login" for each in fake.asked)
        state = journal.state()
    assert state is not None
    assert (True, False) == (state.refused, state.listening)
    assert "wrong-secret" not in state.told


def test_garbage_and_half_packets_do_not_end_it(fake: FakeManager, journal: Journal) -> None:
    fake.lists_channels = False
    with Listening(fake, journal):
        until(lambda: fake.listeners)
        fake.push_raw(b"\xff\xfe\x00garbage\r\n\r\nEvent: Newchannel\r\n\r\n" + b"y" * 200_000 + b"\n")
        whole = b"".join(
            "".join(f"{name}: {value}\r\n" for name, value in each.items()).encode() + b"\r\n"
            for each in incoming("1.1")
        )
        fake.push_raw(whole, sizes=[1, 2, 50, 3, 200])
        until(lambda: lines(journal) == 1)


def test_a_line_that_broke_off_in_the_journal_costs_no_other(journal: Journal) -> None:
    journal.make()
    journal.path.write_bytes(b'{"id": "1.0"')
    journal.add(Call(id="1.1", direction="in", at=AT))
    assert 2 == lines(journal)
    assert b'"1.1"' in journal.path.read_bytes().splitlines()[1]


def test_the_journal_is_rotated_and_what_is_old_goes(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    journal.make()
    journal.add(Call(id="1.1", direction="in", at=now - timedelta(days=8)))
    journal.add(Call(id="1.2", direction="in", at=now))
    (old,) = journal.path.parent.glob("tested.calls.*")
    assert [b'"1.1"' in old.read_bytes(), b'"1.2"' in journal.path.read_bytes()] == [True, True]
    monkeypatch.setattr("crm_channel_phone.journal._LARGEST", 10)
    journal.add(Call(id="1.3", direction="in", at=now))
    assert 2 == len(list(journal.path.parent.glob("tested.calls.*")))
    week_ago = (now - timedelta(days=8)).timestamp()
    os.utime(old, (week_ago, week_ago))
    journal.make()
    assert not old.exists()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT RUN: there is no openssl")
def test_an_encrypted_connection_is_of_whom_it_says(fake: FakeManager, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    fake.encrypt(certificate, key)
    with Manager(settings_of(fake, tls=True, ca_file=str(certificate))) as manager:
        assert "Asterisk Call Manager/6.0.0" == manager.version
    with pytest.raises(TryLater, match="CERTIFICATE_VERIFY_FAILED"):
        Manager(settings_of(fake, tls=True))
    with pytest.raises(TryLater, match=r"nowhere\.pem"):
        Manager(settings_of(fake, tls=True, ca_file="nowhere.pem"))
    assert [] == [each for each in fake.asked[2:] if "Key" in each]


def test_the_command_listens_until_it_is_ended(fake: FakeManager, tmp_path: Path, journal: Journal) -> None:
    account = f'type = "phone-ami"\nhost = "127.0.0.1"\nport = {fake.port}\nuser = "crm"\n'
    account += 'secret = {env = "CRM_TESTED_SECRET"}\n'
    broken = (
        '[channels.broken]\ntype = "phone-ami"\nhost = "127.0.0.1"\nuser = "crm"\nsecret = {env = "X"}\nport = -1\n'
    )
    (tmp_path / "crm.toml").write_text(f'[storage]\nurl = "memory:"\n[channels.tested]\n{account}{broken}', "utf-8")
    command = [sys.executable, "-m", "crm_core", "-w", str(tmp_path), "calls", "listen"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        until(lambda: fake.listeners, 60)
        fake.push(*incoming("1.1"))
        until(lambda: lines(journal) == 1)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=30)
    assert 0 == process.returncode, error
    assert b"listening to the exchange of tested" in out
    assert b"broken is not listened to" in error
    assert SECRET.encode() not in out + error
    state = journal.state()
    assert state is not None
    assert "the listener was ended" == state.told
