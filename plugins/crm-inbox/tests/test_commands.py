from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Interaction, User
from crm_core.cli.main import main
from crm_core.extend import Address
from crm_core.values import format_id
from crm_inbox import HeldMessage, OutboxMessage, send
from crm_inbox.held import held_message
from crm_inbox.status import fail

from .conftest import NOW, Arrive, poll
from .test_intake import message

pytestmark = pytest.mark.database("sqlite")


class Cli:
    """Runs `crm` on the workspace."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __call__(self, *arguments: str, code: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            found = main(["-w", str(self.place), *arguments])
        assert code == found, out.getvalue() + err.getvalue()
        return out.getvalue() + err.getvalue()

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def cli(place: Path) -> Cli:
    return Cli(place)


@pytest.fixture
def talk(place: Path, arrive: Arrive) -> None:
    """Three messages: of Sara, whom Ada owns, of somebody unknown, and of an address that two share."""
    with CRM.open(place) as crm:
        ada = crm.users.add(User(name="Ada"))
        crm.users.add(User(name="Bo"))
        crm.customers.add(Customer(name="سارا احمدی", owner_id=ada.id), email="sara@example.org")
        for name in ("Left", "Right"):
            crm.customers.add(Customer(name=name), email="both@example.org")
        arrive("1", "سفارش من کجاست؟\n> قبلی", subject="سفارش", at="2026-11-20T08:00:00+00:00", thread="t")
        arrive("2", "Price?", sender="new@example.org", at="2026-11-21T08:00:00+00:00")
        arrive("3", "Hello", sender="both@example.org", at="2026-11-19T08:00:00+00:00")
        poll(crm)


def test_the_inbox_shows_what_waits_the_oldest_first_and_whose_it_may_be(cli: Cli, talk: None) -> None:
    found = cli.json("inbox")
    assert ["both@example.org", "sara@example.org", "new@example.org"] == [one["sender"] for one in found]
    assert ["ambiguous", "known", "lead"] == [one["sender_is"] for one in found]
    assert {"Left", "Right"} == {one["label"] for one in found[0]["candidates"]}
    assert [None, "Ada", None] == [one["owner"] and one["owner"]["label"] for one in found]
    told = cli("inbox")
    assert "3 interactions waiting for an answer" in told
    assert "Left or Right?" in told
    assert ["سارا احمدی"] == [one["customer"]["label"] for one in cli.json("inbox", "--owner", "Ada")]
    assert [] == cli.json("inbox", "--channel", "shop")
    assert 3 == len(cli.json("inbox", "--channel", "desk", "--sort", "topic"))


def test_a_reply_leaves_by_crm_run_and_the_inbox_is_shorter(cli: Cli, talk: None, place: Path) -> None:
    asked = cli.json("inbox")[1]["id"]
    cli("inbox", "comment", asked, "Ask the shop first")
    queued = cli.json("reply", asked, "در راه است")
    assert ("queued", "sara@example.org") == (queued["status"], queued["address"])
    done = cli.json("run", "--once")
    assert ["1 sent"] == [one["told"] for one in done["jobs"] if one["job"] == "send"]
    assert 1 == len(list((place / "desk/out").glob("*.json")))
    assert [False] == [one["needs_answer"] for one in cli.json("inbox", "--all") if one["id"] == asked]
    assert 2 == len(cli.json("inbox"))
    assert "sent" in cli("outbox", "list")
    whole = cli.json("inbox", "show", asked)
    assert {"in", "internal", "out"} == {one["direction"] for one in whole}
    assert ("سفارش من کجاست؟\n", "> قبلی") == (whole[0]["text"], whole[0]["quoted"])
    assert "در راه است" in cli("inbox", "show", asked)


def test_work_is_assigned_and_topics_are_given(cli: Cli, talk: None) -> None:
    asked = cli.json("inbox")[1]["id"]
    assert "Bo looks after" in cli("assign", asked, "Bo")
    assert [asked] == [one["id"] for one in cli.json("inbox", "--owner", "Bo")]
    cli("assign", asked, "nobody")
    assert [asked] == [one["id"] for one in cli.json("inbox", "--owner", "Ada")]
    cli("inbox", "topic", asked, "complaint")
    assert [asked] == [one["id"] for one in cli.json("inbox", "--topic", "complaint")]
    assert "is not one of" in cli("inbox", "topic", asked, "grumble", code=1)
    cli("inbox", "done", asked)
    assert 2 == len(cli.json("inbox"))


def test_a_missed_call_that_was_logged_by_hand_is_in_the_inbox(cli: Cli, place: Path) -> None:
    with CRM.open(place) as crm:
        bo = crm.customers.add(Customer(name="Bo"))
        crm.interactions.add(Interaction(customer_id=bo.id, kind="call", channel="phone", needs_answer=True))
        mo = crm.customers.add(Customer(name="Mo"))
        told = Interaction(customer_id=mo.id, kind="call", channel="phone", needs_answer=True, subject="Wants a quote")
        crm.interactions.add(told)
    assert "missed call" in cli("inbox")
    assert "Wants a quote" in cli("inbox")


def test_a_conversation_says_who_wrote_what_and_whose_it_may_be(cli: Cli, talk: None, place: Path) -> None:
    both, asked, _ = (one["id"] for one in cli.json("inbox"))
    assert "customer_id=CUSTOMER" in cli("inbox", "show", both)
    assert "new@example.org" in cli("inbox"), "of a lead without a name the address is shown"
    with CRM.open(place) as crm:
        ada = crm.resolve("user", "Ada")
        told = crm.interactions.get(crm.resolve("interaction", asked))
        note = Interaction(
            customer_id=told.customer_id, direction="internal", kind="note", author_id=ada, thread=told.thread
        )
        crm.interactions.add(note)
        crm.interactions.add(note.evolve(direction="out", kind="message"))
    lines = [line.split() for line in cli("inbox", "show", asked).splitlines() if line[:4].strip() in ("from", "to")]
    assert [["from", "سارا", "احمدی"], ["from", "Ada"], ["from", "Ada"], ["to", "سارا", "احمدی"]] == lines
    cli("interactions", "edit", both, "customer_id=Left")
    assert "Left or Right?" not in cli("inbox")


def test_a_message_is_written_cancelled_and_sent_again(cli: Cli, talk: None, place: Path) -> None:
    queued = cli.json("send", "sara@example.org", "Hello", "--subject", "Hi", "--at", "2099-01-01")
    assert [] == cli.json("run", "--once")["jobs"][1:]
    assert "does not leave" in cli("outbox", "cancel", queued["id"])
    assert "cancelled" in cli("outbox", "list", "--where", 'status = "failed"')
    cli("outbox", "retry", queued["id"])
    cli("run", "--once")
    assert ["sent"] == [one["status"] for one in cli.json("outbox", "list")]
    assert "not queued" in cli("outbox", "cancel", queued["id"], code=2)


def test_held_messages_are_shown_and_taken_in_and_what_an_erasure_left_stays(cli: Cli, place: Path) -> None:
    with CRM.open(place) as crm:
        sara = crm.customers.add(Customer(name="Sara"), email="sara@example.org")
        other = Address(kind="email", value="other@example.org")
        for one, customer_id in ((message("0", sender=other), None), (message("1"), sara.id)):
            held = held_message("desk", one, (), "a rule: قانون", customer_id)
            crm.records(HeldMessage).add(held)
        crm.privacy.erase(sara.id)
    assert {"desk"} == {one["account"] for one in cli.json("inbox", "held")}
    assert "a rule: قانون" in cli("inbox", "held")
    assert "1 message taken in" in cli("inbox", "held", "--retake")
    assert (1, 1) == (len(cli.json("inbox", "held")), len(cli.json("inbox")))


def test_the_state_of_each_account_is_told_in_words_and_without_its_secret(
    cli: Cli, talk: None, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (place / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('[channels.gone]\ntype = "folder"\nfolder = "nowhere"\nkey = {env = "DESK_KEY"}\n')
        settings.write('[channels.odd]\ntype = "pigeon"\n')
    cli("run", "--once", code=1)
    desk, gone, odd = cli.json("channels", "status")
    assert desk["last_success_at"]
    assert desk["next_try_at"]
    assert (None, 0) == (desk["error"], desk["held"])
    assert "there is no folder" in gone["error"]
    assert "no plugin at work brings the channel 'pigeon'" in odd["error"]
    shown = cli("channels", "status") + cli("channels", "check", code=1) + json.dumps([desk, gone, odd])
    assert "canary" not in shown
    assert ["ok"] == [one["ok"] and "ok" for one in cli.json("channels", "check", "desk")]
    cli("channels", "check", "shop", code=1)


def test_the_state_says_when_an_account_sends_again_and_where_it_stands_why_messages_were_given_up(
    cli: Cli, place: Path
) -> None:
    text = (place / "crm.toml").read_text("utf-8").replace("every = 1\n", "every = 1\nper_minute = 1\n")
    (place / "crm.toml").write_text(text, "utf-8")
    with CRM.open(place) as crm:
        sara = crm.customers.add(Customer(name="سارا"), email="sara@example.org")
        for number in range(2):
            send(crm, f"text {number}", customer=sara.id)
        assert cli.json("channels", "status")[0]["sends_again_at"] is None
        crm.jobs.run()
        (desk,) = cli.json("channels", "status")
        assert (1, None) == (desk["waiting_to_leave"], desk["error"])
        assert datetime.fromisoformat(desk["sends_again_at"]) > datetime.now(UTC)
        assert "crm outbox list" not in cli("channels", "status")
        fail(crm, crm.records(OutboxMessage).find('status = "queued"')[0], "no such mailbox")
    assert "crm outbox list --where" in cli("channels", "status")


def test_many_that_were_given_up_are_tried_again_but_not_what_left_or_was_cancelled(cli: Cli, place: Path) -> None:
    with CRM.open(place) as crm:
        sara = crm.customers.add(Customer(name="سارا"), email="sara@example.org")
        given_up, left, cancelled, waiting = (send(crm, text, customer=sara.id) for text in ("a", "b", "c", "d"))
        service = crm.records(OutboxMessage)
        fail(crm, given_up, "given up after 8 attempts: busy")
        fail(crm, service.edit(left.evolve(sent_at=NOW)), "it came back: no such mailbox")
        cli("outbox", "cancel", format_id(cancelled.id))
        assert "which messages?" in cli("outbox", "retry", code=2)
        assert {"again": 1} == cli.json("outbox", "retry", "--where", 'account = "desk"', "--yes")
        assert ["queued", "failed", "failed", "queued"] == [each.status for each in service.find(sort="id")]
        again = service.get(given_up.id)
        assert (given_up.message_id, 0, None) == (again.message_id, again.attempts, again.reason)
        assert {"again": 0} == cli.json("outbox", "retry", "--where", 'account = "other"', "--yes")
        assert "queued" == service.get(waiting.id).status


WORKER = """
import sys, time
from crm_core import CRM
from crm_channel_folder.channel import FolderChannel
real = FolderChannel.send
def send(self, message):
    receipt = real(self, message)
    with open(sys.argv[1] + "/log", "a") as log:
        log.write(message.message_id + "\\n")
    time.sleep(0.004)
    return receipt
FolderChannel.send = send
with CRM.open(sys.argv[1]) as crm:
    print("ready", flush=True)
    while True:
        for outcome in crm.jobs.run():
            assert not outcome.error, outcome
        time.sleep(0.01)
"""


@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: signals are those of POSIX")
def test_workers_that_are_killed_lose_no_message_and_repeat_one_only_under_its_id(place: Path, arrive: Arrive) -> None:
    with CRM.open(place) as crm:
        sara = crm.customers.add(Customer(name="Sara"), email="sara@example.org")
        wanted = {send(crm, f"Hello {number}", customer=sara.id).message_id for number in range(60)}
    for number in range(30):
        arrive(str(number), f"message {number}")
    for round_ in range(3):
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, str(place)], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()
        if round_ == 2:
            _wait_until_nothing_waits(place)
        else:
            time.sleep(0.2 + 0.2 * round_)
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
        for worker in workers:
            assert -signal.SIGKILL == worker.wait()
            assert worker.stdout is not None
            worker.stdout.close()
    sent = (place / "log").read_text("utf-8").split()
    assert wanted == set(sent)
    assert len(sent) - len(wanted) <= 2, "each kill repeats one message at most"
    with CRM.open(place) as crm:
        assert 60 == crm.records(OutboxMessage).count('status = "sent"')
        assert 30 == crm.interactions.count('direction = "in"')
        assert 1 == crm.customers.count()


def _wait_until_nothing_waits(place: Path) -> None:
    end = time.monotonic() + 30
    with CRM.open(place) as crm:
        while crm.records(OutboxMessage).count('status != "sent"') or crm.interactions.count('direction = "in"') < 30:
            assert time.monotonic() < end, "the workers do not come to an end"
            time.sleep(0.05)


def test_following_tells_what_comes_and_what_is_answered_to_a_pipe_until_interrupted(
    crm: CRM, place: Path, arrive: Arrive
) -> None:
    arrive("1", subject="سفارش\n\x1b[2J")
    poll(crm)
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "inbox", "--follow"]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert follower.stdout is not None
    first = follower.stdout.readline().decode()
    assert first.startswith("waiting ")
    assert "سفارش" in first
    assert "\x1b" not in first
    arrive("2", "Later")
    poll(crm)
    assert "Later" in follower.stdout.readline().decode()
    asked = crm.interactions.find(sort="id")[0]
    send(crm, "Here", answers=asked)
    assert follower.stdout.readline().decode().startswith("answered ")
    follower.send_signal(signal.SIGINT)
    rest, errors = follower.communicate(timeout=20)
    assert (130, b"") == (follower.returncode, rest)
    assert b"Traceback" not in errors


def test_following_as_json_writes_an_object_a_line_and_ends_when_nobody_reads(
    crm: CRM, place: Path, arrive: Arrive
) -> None:
    arrive("1")
    poll(crm)
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "inbox", "--follow", "--json"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout is not None
    found = json.loads(follower.stdout.readline())
    assert ("waiting", True) == (found["event"], found["needs_answer"])
    follower.stdout.close()
    arrive("2")
    poll(crm)
    assert 0 <= follower.wait(timeout=20) <= 141
    assert follower.stderr is not None
    assert b"Traceback" not in follower.stderr.read()
    follower.stderr.close()
