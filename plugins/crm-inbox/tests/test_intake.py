from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core import CRM, Customer, Interaction, hookimpl
from crm_core.events import InteractionsChanging, Veto
from crm_core.extend import Address, Attachment, IncomingMessage, JobRun, Received
from crm_core.testing import PluginContract
from crm_inbox import HeldMessage, InboxAttachment, InboxMessage, receive
from crm_inbox.attachments import keep, place_of, safe_name
from crm_inbox.automatic import writer_of
from crm_inbox.held import held_message, message_of
from crm_inbox.intake import _Batch, kept_files, retake
from crm_inbox.quoting import parts_of
from crm_inbox.sweeping import sweep, swept_stores

from .conftest import NOW, Arrive, poll

SARA = Address(kind="email", value="sara@example.org", name="سارا احمدی")
pytestmark = pytest.mark.database("sqlite")


def message(name: str, **more: Any) -> IncomingMessage:
    return IncomingMessage(**{"external_id": name, "sender": SARA, "at": NOW, "text": "Hello", **more})


def came(crm: CRM) -> list[Interaction]:
    return list(crm.interactions.find('direction = "in"', sort="id", limit=None))


class TestThePlugin(PluginContract):
    package = "crm_inbox"


def test_a_message_becomes_an_interaction_of_the_customer_who_has_the_address(crm: CRM, arrive: Arrive) -> None:
    sara = crm.customers.add(Customer(name="سارا"), email="Sara@Example.org")
    arrive("1", "سلام", subject="سفارش")
    assert "1 new" == poll(crm)
    (found,) = came(crm)
    assert (sara.id, "folder", "سلام", "سفارش", NOW, True) == (
        found.customer_id,
        found.channel,
        found.body,
        found.subject,
        found.occurred_at,
        found.needs_answer,
    )


def test_who_is_unknown_becomes_a_lead_once_with_the_channel_as_source(crm: CRM, arrive: Arrive) -> None:
    arrive("1", name="Սառա")
    arrive("2", name="Սառա")
    assert "2 new, 1 from new leads" == poll(crm)
    (lead,) = crm.customers.find()
    assert ("Սառա", "folder", NOW) == (lead.name, lead.source, lead.first_contact_at)
    assert {lead.id} == {one.customer_id for one in came(crm)}


def test_an_address_that_two_have_is_shown_and_not_guessed(crm: CRM, arrive: Arrive) -> None:
    for name in ("Ada", "Sara"):
        crm.customers.add(Customer(name=name), email="sara@example.org")
    arrive("1", thread="t")
    poll(crm)
    (first,) = came(crm)
    assert (None, "ambiguous") == (first.customer_id, crm.records(InboxMessage).find()[0].sender)
    ada = crm.customers.find('name = "Ada"')[0]
    crm.interactions.edit(first.evolve(customer_id=ada.id))
    arrive("2", thread="t")
    poll(crm)
    assert [ada.id, ada.id] == [one.customer_id for one in came(crm)]


def test_a_message_is_stored_once_however_often_and_by_whatever_way_it_comes(crm: CRM) -> None:
    batch = Received(messages=[message("1"), message("2"), message("1")], cursor="c")
    assert (2, 0) == (receive(crm, "desk", batch, polled=True).new, receive(crm, "desk", batch).new)
    assert 0 == receive(crm, "desk", Received(messages=[message("2"), message("1")]), polled=True).new
    gone = came(crm)[0]
    crm.interactions.delete(gone)
    assert 0 == receive(crm, "desk", batch).new, "a message that was deleted does not come back"
    crm.privacy.erase(crm.customers.find()[0].id)
    assert 0 == receive(crm, "desk", batch).new, "nor does that of a person who was erased"


def test_a_poll_that_finds_nothing_writes_nothing(crm: CRM, arrive: Arrive) -> None:
    arrive("1")
    poll(crm)
    before = crm.ledger.history.head()
    for _ in range(3):
        assert "" == poll(crm)
    assert before == crm.ledger.history.head()


def test_cursor_and_messages_are_stored_together_or_not_at_all(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    from crm_inbox.intake import _Batch, state_of

    def fail(self: object, done: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(_Batch, "_keep_place", fail)
        with pytest.raises(RuntimeError):
            receive(crm, "desk", Received(messages=[message("1")], cursor="c"), polled=True)
    assert ([], None) == (came(crm), state_of(crm, "desk"))
    assert 1 == receive(crm, "desk", Received(messages=[message("1")], cursor="c"), polled=True).new


KILLED = """
import os, sys
from crm_core import CRM
from crm_core.extend import JobRun
from crm_inbox import intake, polling
left = int(sys.argv[2])
def maybe(function):
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return function(*args, **kwargs)
    return call
with CRM.open(sys.argv[1]) as crm:
    crm.storage.commit = maybe(crm.storage.commit)
    crm.storage.insert_many = maybe(crm.storage.insert_many)
    polling.poll_account(JobRun(crm=crm, part="desk", stopping=lambda: False))
"""


def test_killed_at_any_write_it_loses_and_doubles_nothing(place: Path, crm: CRM, arrive: Arrive) -> None:
    for number in range(3):
        arrive(str(number), f"message {number}", files=[{"name": "a.txt", "type": "text/plain", "content": b"a"}])
    codes = []
    for steps in (0, 3, 8, 14, 10_000):
        done = subprocess.run([sys.executable, "-c", KILLED, str(place), str(steps)], capture_output=True, text=True)
        assert done.returncode in (0, 9), done.stderr
        codes.append(done.returncode)
    assert (9, 0) == (codes[0], codes[-1])
    assert [f"message {number}" for number in range(3)] == sorted(str(one.body) for one in came(crm))
    assert 3 == crm.records(InboxMessage).count() == crm.records(InboxAttachment).count()
    assert 1 == crm.customers.count()


def test_threads_follow_the_channel_then_the_reply_headers_in_any_order(crm: CRM) -> None:
    batch = [
        message("reply", replies_to=("<question>", "<first>")),  # comes before what it answers
        message("question", reference="<question>", replies_to=("<first>",)),
        message("first", reference="<first>"),
        message("later", replies_to=("<question>", "<first>")),
        message("own", thread="t", replies_to=("<first>",)),
        message("other"),
    ]
    receive(crm, "desk", Received(messages=batch))
    reply, question, first, later, own, other = came(crm)
    assert 1 == len({one.thread for one in (reply, question, first, later)})
    assert 3 == len({one.thread for one in came(crm)}), (own.thread, other.thread)
    assert question.id == later.in_reply_to_id


@pytest.mark.parametrize(
    ("headers", "writer"),
    [
        ({}, "person"),
        ({"auto-submitted": "no"}, "person"),
        ({"auto-submitted": "no (written by hand)"}, "person"),
        ({"auto-submitted": "auto-replied (vacation)"}, "reply"),
        ({"x-autoreply": "yes"}, "reply"),
        ({"x-autoreply": "no"}, "person"),
        ({"x-autorespond": "away"}, "reply"),
        ({"x-auto-response-suppress": "All"}, "person"),
        ({"auto-submitted": "auto-replied; owner-email=x"}, "reply"),
        ({"Auto-Submitted": "auto-generated"}, "reply"),
        ({"precedence": "auto_reply"}, "reply"),
        ({"precedence": "Bulk"}, "bulk"),
        ({"list-id": "<news.example.org>"}, "bulk"),
        ({"return-path": "<>"}, "bounce"),
        ({"content-type": "multipart/report; report-type=delivery-status"}, "bounce"),
    ],
)
def test_machines_are_told_from_people(crm: CRM, headers: dict[str, str], writer: str) -> None:
    one = message("1", headers=headers)
    assert writer == writer_of(one)
    receive(crm, "desk", Received(messages=[one]))
    assert writer == crm.records(InboxMessage).find()[0].automatic
    person = writer == "person"
    assert (person, int(person)) == (came(crm)[0].needs_answer, crm.customers.count()), "no lead of a machine"


def test_a_thread_that_runs_hot_is_a_loop_that_nobody_has_to_answer(crm: CRM) -> None:
    receive(crm, "desk", Received(messages=[message(str(n), thread="t") for n in range(30)]))
    found = [one.automatic for one in crm.records(InboxMessage).find(sort="id", limit=None)]
    assert ["person"] * 20 + ["loop"] * 10 == found
    assert 20 == crm.interactions.count("needs_answer = true")


def test_what_a_rule_refuses_is_held_whole_until_the_rule_allows_it(place: Path) -> None:
    class NoHello:
        strict = True

        @hookimpl
        def before_interactions_change(self, event: InteractionsChanging) -> list[Veto]:
            refused = [n for n, change in enumerate(event.changes) if self.strict and change.record.body == "Hello"]
            return [Veto(n, "body", "say who you are") for n in refused]

    rule = NoHello()
    file = Attachment(name="a.txt", content=b"whole")
    first = message("1", subject="نامه", headers={"x": "y"}, replies_to=("<a>", "<b>"), attachments=(file,))
    with CRM.open(place, plugins=[rule]) as crm:
        batch = Received(messages=[first, message("2", text="I am Sara")])
        done = receive(crm, "desk", batch)
        assert (1, 1, 2) == (done.new, done.held, receive(crm, "desk", batch).known)
        (held,) = crm.records(HeldMessage).find()
        assert (crm.customers.find()[0].id, True) == (held.customer_id, "say who you are" in held.reason)
        assert attrs.evolve(first, attachments=()) == message_of(held)[0]
        assert not retake(crm, held)
        rule.strict = False
        assert retake(crm, crm.records(HeldMessage).find()[0])
        assert (0, 2) == (crm.records(HeldMessage).count(), len(came(crm)))
        (kept,) = crm.records(InboxAttachment).find()
        assert b"whole" == place_of(place, str(kept.digest)).read_bytes()
        assert 2 == receive(crm, "desk", batch).known


def test_what_no_storage_takes_is_taken_out_and_long_ids_stay_apart(crm: CRM) -> None:
    ids = ["x" * 1000, "x" * 1000 + "y", "nul\x00", "half\ud800", "شناسه"]
    batch = [message(one, text="a\x00b\ud800c", subject="s\x00" * 2000, thread="t" * 3000) for one in ids]
    assert 5 == receive(crm, "desk", Received(messages=batch)).new
    assert {"ab?c"} == {one.body for one in came(crm)}
    assert 5 == receive(crm, "desk", Received(messages=batch)).known


def test_a_sender_without_an_address_is_no_lead_and_the_message_stays(crm: CRM) -> None:
    nobody = Address(kind="email", value="undisclosed recipients")
    receive(crm, "desk", Received(messages=[message("1", sender=nobody)]))
    assert (0, True, "unknown") == (
        crm.customers.count(),
        came(crm)[0].needs_answer,
        crm.records(InboxMessage).find()[0].sender,
    )


def test_calls_wait_for_an_answer_only_when_they_were_missed(crm: CRM) -> None:
    caller = Address(kind="phone", value="+98 912 345 6789")
    calls = [message(str(n), sender=caller, kind="call", duration=d) for n, d in enumerate((None, 65))]
    receive(crm, "desk", Received(messages=calls))
    assert [(True, None), (False, 65)] == [(one.needs_answer, one.duration) for one in came(crm)]
    assert 1 == crm.customers.count()


def call(name: str, minutes: int, duration: int | None = None, direction: str = "in") -> IncomingMessage:
    sender = Address(kind="phone", value="+989123456789")
    at, thread = NOW - timedelta(minutes=60 - minutes), "+989123456789"
    return message(name, sender=sender, kind="call", duration=duration, direction=direction, at=at, thread=thread)


def test_a_call_that_went_out_needs_no_answer_and_makes_no_lead(crm: CRM) -> None:
    assert 1 == receive(crm, "desk", Received(messages=[call("1", 1, direction="out")])).new
    (stored,) = crm.interactions.find()
    assert ("out", False, None, 0) == (stored.direction, stored.needs_answer, stored.customer_id, crm.customers.count())


@pytest.mark.parametrize("direction", ["in", "out"])
def test_missed_calls_wait_until_both_have_spoken(crm: CRM, direction: str) -> None:
    receive(crm, "desk", Received(messages=[call("1", 1), call("2", 2), call("3", 3, direction="out"), call("5", 9)]))
    assert [True, True, False, True] == [each.needs_answer for each in crm.interactions.find(sort="occurred_at")]
    receive(crm, "desk", Received(messages=[call("4", 4, 30, direction)]))
    stored = list(crm.interactions.find(sort="occurred_at"))
    assert [False, False, False, False, True] == [each.needs_answer for each in stored]
    assert (stored[1].id, stored[3].occurred_at) == (stored[3].in_reply_to_id, stored[0].answered_at)


def test_a_message_that_went_out_elsewhere_answers_those_before_it(crm: CRM) -> None:
    times = [NOW + timedelta(minutes=number) for number in range(4)]
    one, two, answer, three = (message(str(n), thread="t", at=at, text=str(n)) for n, at in enumerate(times))
    receive(crm, "desk", Received(messages=[one, two, three]))
    receive(crm, "desk", Received(messages=[attrs.evolve(answer, direction="out")]))
    stored = list(crm.interactions.find(sort="occurred_at"))
    assert [False, False, False, True] == [each.needs_answer for each in stored]
    assert (stored[1].id, "out") == (stored[2].in_reply_to_id, stored[2].direction)


def test_files_are_kept_once_by_their_content_and_programs_and_giants_are_not(
    crm: CRM, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm_inbox.attachments.LARGEST", 1000)
    files = [("a.pdf", b"one"), ("../../b.pdf", b"one"), ("c.exe", b"MZ"), ("d.bin", b"x" * 1001)]
    batch = message("1", attachments=tuple(Attachment(name=name, content=content) for name, content in files))
    receive(crm, "desk", Received(messages=[batch]))
    found = list(crm.records(InboxAttachment).find(sort="id"))
    assert ["a.pdf", "b.pdf", "c.exe", "d.bin"] == [one.name for one in found]
    assert found[0].digest == found[1].digest
    assert b"one" == place_of(place, str(found[0].digest)).read_bytes()
    assert [None, None, "files that end in .exe are programs", "it has 1,001 bytes, more than 1,000"] == [
        one.refused for one in found
    ]
    assert 1 == sum(path.is_file() for path in (place / "attachments").rglob("*"))


def test_a_content_that_two_keep_at_once_is_there_whole_and_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, synced = os.fsync, list[bool]()

    def fsync(fd: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
        if len(synced) == 1:  # another thread keeps the same in the midst of the first
            keep(tmp_path, b"the same")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    digest = keep(tmp_path, b"the same")
    assert b"the same" == place_of(tmp_path, digest).read_bytes()
    assert [place_of(tmp_path, digest)] == [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (2, 4) == (synced.count(False), synced.count(True)), "the file, and the folders that name it"


NAMES = [
    "../../etc/passwd", "..\\..\\win.ini", "/etc/shadow", "C:\\boot.ini", "\\\\server\\share\\x", "..", ".", "", "   ",
    "a/../../b", "nul", "CON.txt", "com1", "x\x00.png", "a\nb.txt", "a\r\nSet-Cookie: x", "\u202egpj.exe", "....//x",
    "%2e%2e%2fx", "a" * 5000 + ".pdf", "گزارش" * 200, "x:stream", "~root", "a\u2215..\u2215b", "\uff0e\uff0e\uff0fx",
    "-rf *",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_no_name_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    safe = safe_name(name)
    file = tmp_path / "root" / safe
    file.parent.mkdir()
    file.write_bytes(b"x")
    assert [file] == [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not set(safe) & set('/\\\x00\r\n:*?"<>|\u202e'), safe


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Yes.\n\nOn Mon, 1 Jan 2026, Ada <a@example.org> wrote:\n> Ready?\n", "Yes.\n\n"),
        ("بله\n\nدر دوشنبه ۱ آذر، آدا نوشت:\n> آماده؟\n", "بله\n\n"),
        ("Այո\n\nԱդան գրել է:\n> Պատրա՞ստ\n", "Այո\n\n"),
        ("Ja.\nAm 1.1.2026 schrieb Ada:\n\n> Fertig?", "Ja.\n"),
        ("Да\n-----Original Message-----\nFrom: Ada\nSent: Monday\n\nReady?", "Да\n"),
        ("Fine\nFrom: Ada <a@example.org>\nSent: Monday\nTo: Sara\nSubject: x\n\nReady?", "Fine\n"),
        ("> Ready?\nYes.\n> And you?\nNo.\n", "> Ready?\nYes.\n> And you?\nNo.\n"),
        ("Yes.\n-- \nSara\nDirector\n", "Yes.\n"),
        ("> only\n> quoted\n", "> only\n> quoted\n"),
        (
            "On reflection he wrote:\nnothing of the kind.\nSo no.",
            "On reflection he wrote:\nnothing of the kind.\nSo no.",
        ),
        ("", ""),
    ],
)
def test_what_was_written_now_is_told_from_what_is_quoted_and_nothing_is_lost(body: str, text: str) -> None:
    parts = parts_of(body)
    assert text == parts.text
    assert body == parts.text + parts.signature + parts.quoted


def test_the_parts_are_found_in_time_however_a_text_is_made() -> None:
    import time

    begun = time.monotonic()
    for body in ("on " * 300_000, "> " * 300_000, "On \n" * 50_000, "-" * 500_000, "From:\n" * 50_000):
        parts = parts_of(body)
        assert body == parts.text + parts.signature + parts.quoted
    assert time.monotonic() - begun < 5


def test_an_erased_person_leaves_no_word_in_any_record(crm: CRM) -> None:
    canary = "canary-word-81"
    one = message(
        f"<{canary}@x>",
        text=canary,
        subject=canary,
        sender=attrs.evolve(SARA, name=canary, value=f"{canary}@example.org"),
        attachments=(Attachment(name=f"{canary}.txt", content=b"x"),),
    )
    receive(crm, "desk", Received(messages=[one]))
    crm.privacy.erase(crm.customers.find()[0].id)
    held = [
        str(row)
        for table in crm.storage.schema().tables  # type: ignore[union-attr]
        for row in crm.storage.find(table)
    ]
    assert [] == [row for row in held if canary in row]


def test_the_files_of_an_erased_person_go_unless_somebody_else_has_the_same(crm: CRM, place: Path) -> None:
    def files(*contents: bytes) -> tuple[Attachment, ...]:
        return tuple(Attachment(name=f"{content!r}.txt", content=content) for content in contents)

    other = Address(kind="email", value="other@example.org")
    batch = [message("1", attachments=files(b"hers", b"both")), message("2", sender=other, attachments=files(b"both"))]
    receive(crm, "desk", Received(messages=batch))
    assert "" == sweep(JobRun(crm=crm, part="attachments", stopping=lambda: False)).told
    crm.privacy.erase(crm.customers.reached_at("email", SARA.value)[0])
    assert {"attachments": 3600.0} == swept_stores(crm)
    assert (
        "1 files of erased persons removed" == sweep(JobRun(crm=crm, part="attachments", stopping=lambda: False)).told
    )
    assert [b"both"] == [path.read_bytes() for path in (place / "attachments").rglob("*") if path.is_file()]
    assert 1 == crm.records(InboxAttachment).count("not digest is null")


def test_the_files_of_a_held_message_go_with_it_and_stay_while_another_holds_them(crm: CRM, place: Path) -> None:
    class Nothing:
        @hookimpl
        def before_interactions_change(self, event: InteractionsChanging) -> list[Veto]:
            return [Veto(number, "body", "no") for number, _ in enumerate(event.changes)]

    def swept() -> str:
        return sweep(JobRun(crm=strict, part="attachments", stopping=lambda: False)).told

    other = Address(kind="email", value="other@example.org")
    files = [Attachment(name=f"{content!r}.txt", content=content) for content in (b"hers", b"both")]
    batch = [message("1", attachments=tuple(files)), message("2", sender=other, attachments=tuple(files[1:]))]
    with CRM.open(place, plugins=[Nothing()]) as strict:
        assert 2 == receive(strict, "desk", Received(messages=batch)).held
        for sender, told, left in ((SARA, "1 files of erased persons removed", [b"both"]), (other, "1 files", [])):
            assert "" == swept()
            strict.privacy.erase(strict.customers.reached_at("email", sender.value)[0])
            assert swept().startswith(told)
            assert left == [path.read_bytes() for path in (place / "attachments").rglob("*") if path.is_file()]


def test_files_of_what_was_deleted_before_its_person_was_erased_go_and_those_an_undo_needs_stay(
    crm: CRM, place: Path
) -> None:
    def files(*contents: bytes) -> tuple[Attachment, ...]:
        return tuple(Attachment(name=f"{content!r}.txt", content=content) for content in contents)

    def swept() -> str:
        return sweep(JobRun(crm=crm, part="attachments", stopping=lambda: False)).told

    def left() -> set[bytes]:
        return {path.read_bytes() for path in (place / "attachments").rglob("*") if path.is_file()}

    other = Address(kind="email", value="other@example.org")
    batch = [message("1", attachments=files(b"hers")), message("2", sender=other, attachments=files(b"theirs"))]
    receive(crm, "desk", Received(messages=batch))
    held = held_message("desk", message("3"), kept_files(crm, files(b"held", b"undone")), "no", None)
    crm.records(HeldMessage).delete(crm.records(HeldMessage).add(held).id)
    for sent in crm.interactions.find():
        crm.interactions.delete(sent)
    for path in (place / "attachments").rglob("*"):
        os.utime(path, (0, 0))
    kept_files(crm, files(b"undone"))  # somebody sends it again, and has not stored the message yet
    assert "" == swept()
    assert {b"hers", b"theirs", b"held", b"undone"} == left()
    crm.privacy.erase(crm.customers.reached_at("email", SARA.value)[0])
    assert "2 files of erased persons removed" == swept()
    assert {b"theirs", b"undone"} == left()


def test_a_message_that_came_by_another_way_since_we_looked_is_known_and_not_held(
    crm: CRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 1 == receive(crm, "desk", Received(messages=[message("1")])).new
    real, looked = _Batch._known, iter([True])
    monkeypatch.setattr(_Batch, "_known", lambda self: set() if next(looked, False) else real(self))
    again = receive(crm, "desk", Received(messages=[message("1")]))
    assert (0, 1, 0) == (again.new, again.known, again.held)
    assert (1, 0) == (crm.interactions.count(), crm.records(HeldMessage).count())
