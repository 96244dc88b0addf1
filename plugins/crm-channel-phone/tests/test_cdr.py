"""Call records: rows, legs, and the file that grows and is rotated."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from crm_channel_phone.calls import WITHHELD
from crm_channel_phone.cdr import CallRecords, CdrSettings
from crm_core import CRM
from crm_core.errors import SettingsError, TryLater
from crm_core.extend import Address, ChannelAccount, IncomingMessage, Received
from crm_core.testing import ChannelContract, ChannelFault, OpenChannel, PluginContract

from .records import ZONE, row, written

FILE = "Master.csv"


class TestThePlugin(PluginContract):
    package = "crm_channel_phone"


class TestTheContract(ChannelContract):
    channel = "phone-cdr"

    def options(self, place: Path, secret: Mapping[str, str]) -> Mapping[str, Any]:
        (place / FILE).touch()
        return {"file": FILE, "zone": ZONE}

    def samples(self, count: int) -> list[IncomingMessage]:
        """A record has room for a note in any script; the extension that spoke follows it."""
        return [
            attrs.evolve(
                each,
                external_id=f"{int(each.at.timestamp()) if each.at else 0}.{number}",
                sender=Address(kind="phone", value=f"0912{number:07}"),
                subject="",
                text=f"{each.text}\nwith 101",
                thread=f"0912{number:07}",
            )
            for number, each in enumerate(super().samples(count))
        ]

    def arrive(self, place: Path, message: IncomingMessage) -> None:
        assert message.at is not None
        start = message.at.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None)
        note = message.text.removesuffix("\nwith 101")
        append(place, row(message.external_id, src=message.sender.value, start=start, talked=60, note=note))

    def arrive_garbage(self, place: Path, number: int, content: bytes) -> None:
        append(place, content + b"\n")

    def faults(self, place: Path) -> Sequence[ChannelFault]:
        return [ChannelFault(error=TryLater, make=lambda: (place / FILE).unlink(missing_ok=True))]


def append(place: Path, content: bytes) -> None:
    with (place / FILE).open("ab") as file:
        file.write(content)


def opened(place: Path, **more: Any) -> CallRecords:
    (place / FILE).touch()
    settings = CdrSettings(**{"file": FILE, "zone": ZONE, **more})
    return CallRecords(ChannelAccount(name="calls", settings=settings, directory=place))


def all_of(channel: CallRecords, cursor: str = "") -> tuple[list[IncomingMessage], str]:
    found: list[IncomingMessage] = []
    while True:
        received = channel.poll(cursor)
        found += received.messages
        if not received.more:
            return found, received.cursor
        assert received.cursor != cursor
        cursor = received.cursor


def one(place: Path, *rows: bytes, **more: Any) -> IncomingMessage:
    append(place, b"".join(rows))
    (found,) = all_of(opened(place, **more))[0]
    return found


def test_a_call_has_its_number_name_time_and_duration(tmp_path: Path) -> None:
    found = one(tmp_path, row("1767249000.7", src="۰۹۱۲ ۳۴۵ ۶۷۸۹", name="سارا", talked=75))
    assert ("1767249000.7", Address(kind="phone", value="09123456789", name="سارا")) == (
        found.external_id,
        found.sender,
    )
    assert (datetime(2026, 1, 1, 6, 30, tzinfo=UTC), 75, "in", "call") == (
        found.at,
        found.duration,
        found.direction,
        found.kind,
    )
    assert ("09123456789", "with 101") == (found.thread, found.text)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"disposition": "BUSY"},
        {"talked": 20, "far": "", "app": "BackGround"},
        {"talked": 20, "far": "", "app": "Queue"},
        {"talked": 20, "app": "VoiceMail", "disposition": "ANSWERED"},
    ],
    ids=["no answer", "busy", "announcement", "queue", "mailbox"],
)
def test_what_only_a_machine_answered_is_missed(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert one(tmp_path, row(**changes)).duration is None


def test_a_conference_is_answered_without_a_second_channel(tmp_path: Path) -> None:
    assert 20 == one(tmp_path, row(talked=20, far="", app="ConfBridge")).duration


@pytest.mark.parametrize(
    "number", ["", "anonymous", "Restricted", "unknown", "s", "+266696687", "0000000000", "asterisk", "4.41E+11"]
)
def test_a_number_that_is_withheld_is_nobodys(tmp_path: Path, number: str) -> None:
    found = one(tmp_path, row(src=number, name="Anonymous"))
    assert (WITHHELD, "", "") == (found.sender.value, found.sender.name, found.thread)


def test_calls_of_ours_go_out_and_those_within_the_house_are_none(tmp_path: Path) -> None:
    append(tmp_path, row("1767225600.1", src="101", dst="909123456789", talked=9, context="from-internal"))
    append(tmp_path, row("1767225600.2", src="101", dst="102", talked=9, context="from-internal"))
    append(tmp_path, row("1767225600.3", src="101", dst="*97", talked=9, context="from-internal"))
    append(tmp_path, row("1767225600.4", src="02112345678", dst="09123456789", context="from-internal"))
    append(tmp_path, row("1767225600.5", src="110", dst="101", context="from-trunk"))
    channel = opened(tmp_path, own=("021-1234 5678",), inbound=("from-trunk",), outside="9")
    found = [(each.direction, each.sender.value, each.text) for each in all_of(channel)[0]]
    out = [("out", "09123456789", "by 101"), ("out", "09123456789", "by 02112345678")]
    assert [*out, ("in", "110", "rang at 101")] == found


def test_the_legs_of_a_ring_group_and_a_transfer_are_one_call(tmp_path: Path) -> None:
    name = "1767225600.1"
    group = [row(name, far=f"PJSIP/{each}-01", linkedid=name) for each in (101, 102)]
    answered = row(name, far="PJSIP/103-01", talked=60, linkedid=name)
    passed = row("1767225600.9", far="PJSIP/104-01", talked=30, start="2026-01-01 10:01:00", linkedid=name)
    asking = row("1767225600.8", src="103", dst="104", talked=10, start="2026-01-01 10:00:50", linkedid=name)
    found = one(tmp_path, *group, answered, asking, passed)
    assert (name, 90, "with 103, 104") == (found.external_id, found.duration, found.text)


def test_a_call_waits_until_its_other_legs_are_written(tmp_path: Path) -> None:
    now = datetime.now(ZoneInfo(ZONE)).replace(tzinfo=None)
    old = row("1767225600.1", talked=3)
    rang = row("1767225600.2", start=now - timedelta(seconds=8), linkedid="1767225600.2")
    append(tmp_path, old + rang)
    channel = opened(tmp_path)
    found, cursor = all_of(channel)
    assert ["1767225600.1"] == [each.external_id for each in found]
    append(tmp_path, row("1767225600.3", start=now - timedelta(seconds=9), rang=2, talked=5, linkedid="1767225600.2"))
    assert [] == all_of(channel, cursor)[0]
    (whole,) = all_of(opened(tmp_path, settle=0), cursor)[0]
    assert ("1767225600.2", 5) == (whole.external_id, whole.duration)


@pytest.mark.parametrize("columns", [16, 17, 18, 19, 20, 21])
def test_every_form_of_master_csv_is_read(tmp_path: Path, columns: int) -> None:
    name = "pbx1-1767225600.42"
    values = next(csv.reader([row(talked=8).decode()]))[:16]
    more = {16: [], 17: [name], 18: [name, "note"], 19: ["", name, "4"], 20: [name, "", name, "4"]}
    values += more.get(columns, [name, "note", "", name, "4"])
    found = one(tmp_path, written(values))
    assert 8 == found.duration
    assert (found.external_id == name) == (columns != 16)
    assert found.external_id == all_of(opened(tmp_path))[0][0].external_id


def test_a_file_with_a_header_names_its_columns(tmp_path: Path) -> None:
    header = "\ufeffشماره;Called;Start Time;Length;Status;Call-ID;Kind\n"
    lines = [
        "۰۹۱۲۳۴۵۶۷۸۹;101;22/11/2026 09:30;0:01:15;Answered;a-1;Inbound",
        "0912 345 6789;101;22/11/2026 09:40;0;Missed;a-2;Inbound",
        "101;02188776655;22/11/2026 09:50;12;Answered;a-3;Outbound",
        "09123456789;101;31/02/2026 09:50;12;Answered;a-4;Inbound",
    ]
    append(tmp_path, (header + "\n".join(lines) + "\n").encode())
    columns = ("src=شماره", "dst=Called", "start=Start Time", "duration=Length", "disposition=Status")
    columns += ("uniqueid=Call-ID", "direction=Kind")
    channel = opened(tmp_path, header=True, columns=columns, delimiter=";", time_format="%d/%m/%Y %H:%M")
    found = [(each.external_id, each.direction, each.sender.value, each.duration) for each in all_of(channel)[0]]
    assert [
        ("a-1", "in", "09123456789", 75),
        ("a-2", "in", "09123456789", None),
        ("a-3", "out", "02188776655", 12),
    ] == found
    assert "3 of the first 4 rows are calls" in channel.check()


def test_an_export_of_freepbx_or_issabel_is_read_by_the_names_of_its_table_and_twice_changes_nothing(
    tmp_path: Path,
) -> None:
    header = "calldate,clid,src,dst,dcontext,channel,dstchannel,lastapp,lastdata,duration,billsec,disposition,amaflags,"
    header += "accountcode,uniqueid,userfield,did,recordingfile,cnum,cnam,linkedid,peeraccount,sequence\n"
    lines = [
        '2026-11-22 09:30:00,"""Sara"" <09123456789>",09123456789,600,ext-queues,PJSIP/trunk-1,PJSIP/101-2,Queue,600,'
        "80,75,ANSWERED,3,,1795330800.1,,982188776655,,09123456789,Sara,1795330800.1,,1\n",
        '2026-11-22 09:40:00,"""x"" <09123456789>",09123456789,101,from-trunk,PJSIP/trunk-3,PJSIP/101-4,Dial,x,'
        "20,0,NO ANSWER,3,,1795331400.2,,982188776655,,09123456789,Sara,1795331400.2,,2\n",
    ]
    append(tmp_path, (header + "".join(lines)).encode())
    channel = opened(tmp_path, header=True)
    first, cursor = all_of(channel)
    assert [("1795330800.1", 75), ("1795331400.2", None)] == [(each.external_id, each.duration) for each in first]
    assert (datetime(2026, 11, 22, 6, tzinfo=UTC), "Sara") == (first[0].at, first[0].sender.name)
    append(tmp_path, "".join(lines).encode())  # exported once more
    assert {each.external_id for each in first} == {each.external_id for each in all_of(channel, cursor)[0]}


def test_an_hour_that_the_clock_shows_twice_is_told_by_the_id(tmp_path: Path) -> None:
    for number, epoch in enumerate((1792888200, 1792891800)):  # 2026-10-25 02:30 in Berlin, before and after the change
        append(tmp_path, row(f"{epoch}.{number}", start="2026-10-25 02:30:00"))
    found = all_of(opened(tmp_path, zone="Europe/Berlin"))[0]
    assert [1792888200, 1792891800] == [int(each.at.timestamp()) for each in found if each.at]


def test_rows_before_a_day_are_left_out(tmp_path: Path) -> None:
    append(
        tmp_path, row("1767225600.1", start="2026-01-01 23:59:59") + row("1767225600.2", start="2026-01-02 00:00:00")
    )
    assert ["1767225600.2"] == [each.external_id for each in all_of(opened(tmp_path, since="2026-01-02"))[0]]


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    first, second = row("1767225600.1", note='said "yes"\nand went'), row("1767225600.2")
    channel, cursor, found = opened(tmp_path), "", list[IncomingMessage]()
    for byte in range(0, len(first + second), 7):
        append(tmp_path, (first + second)[byte : byte + 7])
        more, cursor = all_of(channel, cursor)
        found += more
    assert ["1767225600.1", "1767225600.2"] == [each.external_id for each in found]
    assert 'said "yes"\nand went\nrang at 101' == found[0].text


def test_a_row_that_broke_off_within_quotation_marks_takes_no_other_with_it(tmp_path: Path) -> None:
    broken = row("1767225600.1")[:60] + b"\n"
    assert broken.count(b'"') % 2
    append(tmp_path, row("1767225600.0") + broken + b"".join(row(f"1767225600.{number}") for number in (2, 3)))
    found = all_of(opened(tmp_path))[0]
    assert ["1767225600.0", "1767225600.2", "1767225600.3"] == [each.external_id for each in found]


def test_a_line_without_an_end_is_let_go(tmp_path: Path) -> None:
    append(tmp_path, row("1767225600.1") + b"x" * 700_000 + b"\n" + row("1767225600.2") + b'"' + b"y" * 600_000)
    append(tmp_path, b"\n" + row("1767225600.3"))
    found = all_of(opened(tmp_path))[0]
    assert {"1767225600.1", "1767225600.2", "1767225600.3"} == {each.external_id for each in found}


def test_compressed_files_are_read_on_from_where_they_were_and_not_at_first(tmp_path: Path) -> None:
    append(tmp_path, row("1767225600.1"))
    packed = tmp_path / "Master.csv.2.gz"
    packed.write_bytes(gzip.compress(row("1767225500.0", start="2025-01-01 00:00:00")))
    channel = opened(tmp_path)
    found, cursor = all_of(channel)
    assert ["1767225600.1"] == [each.external_id for each in found]
    append(tmp_path, row("1767225600.2"))
    (tmp_path / "Master.csv.1.gz").write_bytes(gzip.compress((tmp_path / FILE).read_bytes()))
    (tmp_path / FILE).write_bytes(row("1767225600.3"))
    broken = tmp_path / "Master.csv.9.gz"
    broken.write_bytes(gzip.compress(b"x\n" * 9)[:12])
    assert ["1767225600.2", "1767225600.3"] == [each.external_id for each in all_of(channel, cursor)[0]]


def test_a_file_that_is_cut_and_written_anew_is_read_anew(tmp_path: Path) -> None:
    append(tmp_path, b"".join(row(f"1767225600.{number}") for number in range(3)))
    channel = opened(tmp_path)
    cursor = all_of(channel)[1]
    (tmp_path / FILE).write_bytes(row("1767225600.0") + row("1767225600.7"))  # begins as before, and is shorter
    assert ["1767225600.0", "1767225600.7"] == [each.external_id for each in all_of(channel, cursor)[0]]


def test_a_carriage_return_in_the_first_line_hides_no_file(tmp_path: Path) -> None:
    append(tmp_path, b"gar\rbage\n" + row("1767225600.1"))
    assert ["1767225600.1"] == [each.external_id for each in all_of(opened(tmp_path))[0]]


def test_a_cursor_that_is_none_begins_anew(tmp_path: Path) -> None:
    append(tmp_path, row("1767225600.0"))
    for cursor in ("7", "[]", '{"a": "b"}', "[" * 100_000, '{"a": -5}'):
        assert 1 == len(opened(tmp_path).poll(cursor).messages)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_is_lost_or_told_wrongly_however_the_file_grows_and_is_rotated(tmp_path: Path, seed: int) -> None:
    """Rows come in pieces, the file is renamed, copied and cut, compressed, and the reader is killed at any time."""
    chance = random.Random(seed)
    channel, stored = opened(tmp_path), dict[str, IncomingMessage]()
    cursor = channel.poll("").cursor
    expected: dict[str, int | None] = {}
    rotated = 0
    for number in range(400):
        name = f"{1767225600 + number}.{number}"
        start = datetime(2026, 1, 1) + timedelta(minutes=number)  # noqa: DTZ001  # as the exchange writes it
        talked = chance.choice((0, number + 1))
        rung = [row(name, start=start, linkedid=name, far=f"PJSIP/10{n}-1") for n in range(chance.randrange(3))]
        content = b"".join([*rung, row(name, start=start, talked=talked, linkedid=name)])
        expected[name] = talked or None
        if chance.random() < 0.1:
            content = chance.randbytes(9).replace(b"\n", b"").replace(b'"', b"") + b"\n" + content
        half = chance.randrange(content.index(b"\n")) if chance.random() < 0.3 else 0
        append(tmp_path, content[:half])
        for each in channel.poll(cursor).messages if half else ():
            stored.setdefault(each.external_id, each)
        append(tmp_path, content[half:])
        if chance.random() < 0.06:
            rotated += 1
            _rotate(tmp_path, rotated, chance)
        if chance.random() < 0.3:
            received: Received = channel.poll(cursor)
            kept = list(received.messages)
            if chance.random() < 0.3:  # killed before the cursor was stored
                kept = kept[: chance.randrange(len(kept) + 1)]
            else:
                cursor = received.cursor
            for each in kept:
                stored.setdefault(each.external_id, each)
    for each in all_of(channel, cursor)[0]:
        stored.setdefault(each.external_id, each)
    assert expected == {name: each.duration for name, each in stored.items()}


def _rotate(place: Path, number: int, chance: random.Random) -> None:
    way = chance.randrange(3)
    target = place / f"{FILE}.{number}" if chance.random() < 0.5 else place / f"{FILE}-{20260000 + number}"
    if way == 0:
        (place / FILE).rename(target)
        (place / FILE).touch()
    elif way == 1:
        target.write_bytes((place / FILE).read_bytes())
        os.truncate(place / FILE, 0)
    else:
        (place / f"{FILE}.{number}.gz").write_bytes(gzip.compress((place / FILE).read_bytes()))
        os.truncate(place / FILE, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"zone": "Mars"}, {"encoding": "utf-16"}, {"encoding": "x"}, {"delimiter": ";;"}, {"columns": ["src"]},
        {"since": "yesterday"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    given = {"type": "phone-cdr", "file": FILE, "zone": ZONE, **change}
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    (tmp_path / "crm.toml").write_text('[storage]\nurl = "memory:"\n[channels.a]\n' + "\n".join(lines), "utf-8")
    with CRM.open(tmp_path) as crm, pytest.raises(SettingsError, match=next(iter(change))):
        crm.channels.open("a")


def test_the_account_says_how_much_it_understands(tmp_path: Path, account_of: Callable[[Path], OpenChannel]) -> None:
    append(tmp_path, row() + b"no row\n")
    assert "Master.csv: 1 of the first 2 rows are calls" == account_of(tmp_path).check()
