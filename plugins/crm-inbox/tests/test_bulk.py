from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from crm_core import CRM, Consent, ContactPoint, Customer, User, hookimpl
from crm_core.errors import DuplicateKey, InvalidValue, NotFound, UsageError
from crm_core.events import InteractionsChanging, Veto
from crm_core.extend import Attachment
from crm_inbox import Campaign, Mailing, MessageTemplate, OutboxMessage, UnsubscribeSettings, read_token, send_to_many
from crm_inbox.consent import refusals
from crm_inbox.sending import outgoing
from crm_inbox.unsubscribing import link_of, withdraw

from .conftest import NOW
from .test_commands import Cli
from .test_outbox import left, run

pytestmark = pytest.mark.database("sqlite")
LEAVE = """
from crm_core import hookimpl
from crm_core.extend import Channel, ChannelType
from crm_inbox import UnsubscribeSettings

class Leave(Channel):
    def __init__(self, account):
        self.settings = account.settings

    def check(self):
        return "well"

@hookimpl
def register_channels():
    return [ChannelType(name="leave", label="Leave", address_kind="email", settings=UnsubscribeSettings, open=Leave,
        capabilities=frozenset())]
"""
URL = "https://crm.example.org/hooks/leave"


@pytest.fixture
def place(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace, with an account that people unsubscribe by."""
    monkeypatch.setenv("LEAVE_SECRET", "a long enough secret")
    (place / "leave.py").write_text(LEAVE, "utf-8")
    text = (place / "crm.toml").read_text("utf-8").replace('["./folder.py"]', '["./folder.py", "./leave.py"]')
    text += f'[channels.leave]\ntype = "leave"\nurl = "{URL}"\nsecret = {{env = "LEAVE_SECRET"}}\n'
    (place / "crm.toml").write_text(text, "utf-8")
    return place


@pytest.fixture
def people(crm: CRM) -> list[int]:
    """Seven who consented; then one without consent, one who withdrew, one without an address, one without a name."""
    crm.records(MessageTemplate).add(
        MessageTemplate(name="news", subject="News", body="Dear {{ customer.name }}\n{{ unsubscribe_url }}")
    )
    made = [crm.customers.add(Customer(name=f"Person {n}", country="DE"), email=f"p{n}@example.org") for n in range(9)]
    made.append(crm.customers.add(Customer(name="No address")))
    made.append(crm.customers.add(Customer(), email="nameless@example.org"))
    for each in [*made[:7], made[8], made[10]]:
        consent(crm, each.id, "granted")
    consent(crm, made[8].id, "withdrawn")
    return [each.id for each in made]


def consent(crm: CRM, customer: int, status: str) -> None:
    point = crm.customers.contact_points(customer)[0]
    crm.records(Consent).add(Consent(contact_point_id=point.id, purpose="marketing", status=status, at=NOW))


MAILING = Mailing(template="news", key="november")
REASONS = {
    "there is no consent for 'marketing'": 1,
    "consent for 'marketing' was withdrawn": 1,
    "there is no address that an account reaches": 1,
    "template 'news', text, line 1: 'name' of the customer is not known": 1,
}


def test_a_dry_run_counts_who_gets_it_and_why_others_do_not_and_writes_nothing(crm: CRM, people: list[int]) -> None:
    before = crm.ledger.history.head()
    counted: list[int] = []
    report = send_to_many(crm, MAILING, people, dry_run=True, told=counted.append)
    assert (11, 7, 0, REASONS) == (report.people, report.queued, report.before, report.left_out)
    assert (11, before) == (sum(counted), crm.ledger.history.head())
    done = send_to_many(crm, MAILING, people)
    assert (report.queued, report.left_out) == (done.queued, done.left_out)


def test_nobody_gets_it_twice_however_often_it_is_sent(crm: CRM, place: Path, people: list[int]) -> None:
    shared = crm.customers.add(Customer(name="Shares an address"), email="P1@EXAMPLE.org")
    send_to_many(crm, MAILING, people[:3])
    assert "3 sent" == run(crm)
    again = send_to_many(crm, MAILING, [*people, shared.id])
    assert (4, 3) == (again.queued, again.before)
    assert 1 == again.left_out["the address has it already"]
    assert "4 sent" == run(crm)
    assert 7 == send_to_many(crm, MAILING, people).before
    assert ("", 7) == (run(crm), len({each["recipient"]["value"] for each in left(place)}))
    with pytest.raises(UsageError, match="was the template 'news'"):
        send_to_many(crm, attrs.evolve(MAILING, purpose="other"), people)
    assert 7 == send_to_many(crm, attrs.evolve(MAILING, key="december"), people).queued


def test_what_is_looked_up_does_not_grow_with_the_people(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    crm.records(MessageTemplate).add(MessageTemplate(name="news", body="Dear {{ customer.name }}"))
    owner = crm.users.add(User(name="Nina"))
    made = [crm.customers.add(Customer(name=f"P{n}", owner_id=owner.id), email=f"p{n}@example.org") for n in range(80)]
    for each in made:
        consent(crm, each.id, "granted")
    looks: list[str] = []
    for name in ("find", "get_many"):
        real = getattr(crm.storage, name)

        def look(table: str, *given: Any, real: Any = real, **named: Any) -> Any:
            looks.append(table)
            return real(table, *given, **named)

        monkeypatch.setattr(crm.storage, name, look)
    counted = []
    for key, count in (("warm", 1), ("few", 5), ("many", 80)):
        looks.clear()
        assert count == send_to_many(crm, attrs.evolve(MAILING, key=key), [each.id for each in made[:count]]).queued
        counted.append(len(looks))
    assert counted[1] == counted[2]


def test_whom_a_rule_refuses_is_left_out_with_the_reason_and_stops_no_other(
    crm: CRM, place: Path, people: list[int]
) -> None:
    class NotFriday:
        @hookimpl
        def before_interactions_change(self, event: InteractionsChanging) -> list[Veto]:
            wrong = [n for n, change in enumerate(event.changes) if "Person 2" in (change.record.body or "")]
            return [Veto(n, "body", "not on a Friday") for n in wrong]

    with CRM.open(place, clock=crm.clock, plugins=[NotFriday()]) as strict:
        report = send_to_many(strict, MAILING, people)
    (reason,) = report.left_out.keys() - REASONS.keys()
    assert (6, True) == (report.queued, "not on a Friday" in reason)
    assert 6 == crm.records(OutboxMessage).count()


def test_one_undo_takes_back_what_still_waits_and_what_left_is_not_repeated(
    crm: CRM, place: Path, people: list[int]
) -> None:
    slow = attrs.evolve(crm.settings.channels["desk"], per_minute=3)
    crm.settings = attrs.evolve(crm.settings, channels={**crm.settings.channels, "desk": slow})
    crm.__dict__.pop("channels", None)
    report = send_to_many(crm, MAILING, people)
    assert "3 sent" == run(crm)
    assert report.operation is not None
    crm.ledger.undo(report.operation)
    assert (3, 0) == (crm.records(OutboxMessage).count(), crm.records(OutboxMessage).count('status = "queued"'))
    again = send_to_many(crm, MAILING, people)
    assert (4, 3) == (again.queued, again.before)


def test_bulk_mail_says_how_to_unsubscribe_and_a_single_message_does_not(
    crm: CRM, place: Path, people: list[int]
) -> None:
    send_to_many(crm, MAILING, people[:1])
    crm.outbox.send("An answer", customer=people[1])
    run(crm)
    bulk, single = sorted(left(place), key=lambda each: each["subject"], reverse=True)
    link = bulk["headers"]["List-Unsubscribe"]
    assert ("List-Unsubscribe=One-Click", {}) == (bulk["headers"]["List-Unsubscribe-Post"], single["headers"])
    assert link.startswith(f"<{URL}?u=")
    assert link.strip("<>") in bulk["text"]
    with crm.channels.open("leave") as channel:
        settings: UnsubscribeSettings = channel.settings
    token = link.strip("<>").partition("?u=")[2]
    point = crm.customers.contact_points(people[0])[0]
    assert (point.id, "marketing") == read_token(settings, token)
    send_to_many(crm, attrs.evolve(MAILING, key="next"), people[:2])
    assert "done" == withdraw(crm, point.id, "marketing", at=NOW, source="test")
    assert "known" == withdraw(crm, point.id, "marketing", at=NOW, source="test")
    assert "gone" == withdraw(crm, 1, "marketing", at=NOW, source="test")
    assert "1 sent, 1 given up" == run(crm), "what waited does not leave"


@pytest.mark.parametrize("gone", ["merged", "typed anew"])
def test_a_link_to_a_contact_point_that_is_gone_takes_back_what_its_address_has_now(crm: CRM, gone: str) -> None:
    kept, other = (crm.customers.add(Customer(name=name), email="sara@example.org") for name in ("Sara", "S."))
    (linked,) = crm.customers.contact_points(other.id)
    for each in (kept, other):
        consent(crm, each.id, "granted")
    if gone == "merged":
        crm.customers.merge(kept.id, other.id)
    else:
        crm.contact_points.delete(linked)
        crm.contact_points.add(ContactPoint(customer_id=other.id, kind="email", value=" SARA@example.org"))
    assert "done" == withdraw(crm, linked.id, "marketing", at=NOW, source="test")
    assert "known" == withdraw(crm, linked.id, "marketing", at=NOW, source="test")
    points = crm.contact_points.reached_at("email", "sara@example.org")
    assert ["consent for 'marketing' was withdrawn"] == refusals(crm, [points], "marketing")
    for each in points:
        alone = refusals(crm, [[each]], "marketing")
        assert ["consent for 'marketing' was withdrawn"] == alone, "each of those who have it"


def test_nothing_of_an_erased_person_is_found_by_a_link(crm: CRM) -> None:
    sara = crm.customers.add(Customer(name="Sara"), email="sara@example.org")
    (linked,) = crm.customers.contact_points(sara.id)
    crm.contact_points.delete(linked)
    crm.privacy.erase(sara.id)
    crm.customers.add(Customer(name="Another"), email="sara@example.org")
    assert "gone" == withdraw(crm, linked.id, "marketing", at=NOW, source="test")


def test_who_unsubscribes_is_heeded_although_the_consent_is_dated_ahead(crm: CRM) -> None:
    sara = crm.customers.add(Customer(name="Sara"), email="sara@example.org")
    (point,) = crm.customers.contact_points(sara.id)
    ahead = Consent(
        contact_point_id=point.id, purpose="marketing", status="granted", at=NOW + timedelta(days=1), source="import"
    )
    crm.records(Consent).add(ahead)
    assert "done" == withdraw(crm, point.id, "marketing", at=NOW, source="test")
    assert ["consent for 'marketing' was withdrawn"] == refusals(crm, [[point]], "marketing")


def test_the_account_of_unsubscribing_is_opened_once_for_many(
    crm: CRM, place: Path, people: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    send_to_many(crm, MAILING, people)
    opened: list[str] = []
    real = crm.channels.open

    def open_and_count(name: str) -> Any:
        opened.append(name)
        return real(name)

    monkeypatch.setattr(crm.channels, "open", open_and_count)
    assert "7 sent" == run(crm)
    assert ["desk", "leave"] == opened
    assert all("List-Unsubscribe" in each["headers"] for each in left(place))
    crm.outbox.send("An answer", customer=people[1])
    run(crm)
    assert ["desk"] == opened[2:]


def test_a_link_is_forged_by_nobody_and_outlives_a_change_of_the_secret(
    crm: CRM, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with crm.channels.open("leave") as channel:
        settings: UnsubscribeSettings = channel.settings
    token = link_of(settings, 7, "اخبار news/x").partition("?u=")[2]
    assert (7, "اخبار news/x") == read_token(settings, token)
    assert token.isascii()
    assert "&" not in token
    for wrong in (
        "",
        ".",
        "a.b",
        token[:-1],
        token[1:],
        token + "0",
        "0" + token,
        token.replace(".", "..", 1),
        "é" * 9,
    ):
        assert read_token(settings, wrong) is None
    monkeypatch.setenv("LEAVE_SECRET", "another secret than before")
    monkeypatch.setenv("LEAVE_FORMER", "a long enough secret")
    assert read_token(settings, token) is None
    former = type(settings.secret)(env="LEAVE_FORMER")
    assert (7, "اخبار news/x") == read_token(attrs.evolve(settings, former_secret=former), token)
    with pytest.raises(ValueError, match="https"):
        attrs.evolve(settings, url="http://example.org/x")


def test_without_a_way_to_unsubscribe_no_bulk_mail_is_written(crm: CRM, people: list[int]) -> None:
    crm.settings = attrs.evolve(crm.settings, channels={"desk": crm.settings.channels["desk"]})
    crm.__dict__.pop("channels", None)
    with pytest.raises(UsageError, match="nobody could unsubscribe"):
        send_to_many(crm, MAILING, people)
    assert (0, 0) == (crm.records(OutboxMessage).count(), crm.records(Campaign).count())


def test_a_secret_that_is_gone_stops_the_account_and_costs_no_message_an_attempt(
    crm: CRM, people: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.outbox.send("An answer", customer=people[1])
    send_to_many(crm, MAILING, people[:1])
    with monkeypatch.context() as patch:
        patch.delenv("LEAVE_SECRET")
        with pytest.raises(UsageError):
            run(crm)
    answer, kept = crm.records(OutboxMessage).find(sort="id")
    assert "sent" == answer.status, "what comes before it leaves"
    assert ("queued", 0, "1 sent") == (kept.status, kept.attempts, run(crm))


def test_headers_and_files_flow_to_the_channel_and_injections_are_refused(
    crm: CRM, place: Path, people: list[int]
) -> None:
    file = Attachment(name="../فاکتور.pdf", type="application/pdf", content=b"%PDF\x00\xff")
    crm.outbox.send("Yours", customer=people[0], headers={"X-Order": "7"}, attachments=[file])
    message = outgoing(crm, crm.records(OutboxMessage).find()[0])
    assert ({"X-Order": "7"}, ["فاکتور.pdf"]) == (dict(message.headers), [each.name for each in message.attachments])
    assert [b"%PDF\x00\xff"] == [each.content for each in message.attachments]
    for wrong in ({"X-A": "1\r\nBcc: eve@example.org"}, {"X-A\nBcc": "eve@example.org"}, {"X": "a\u2028b"}):
        with pytest.raises(InvalidValue):
            crm.outbox.send("x", customer=people[0], headers=wrong)
    with pytest.raises(InvalidValue):
        crm.outbox.send("x", customer=people[0], subject="a\nBcc: eve@example.org")
    with pytest.raises(UsageError, match="programs"):
        crm.outbox.send("x", customer=people[0], attachments=[attrs.evolve(file, name="x.exe")])
    assert 1 == crm.records(OutboxMessage).count()
    for kept in (place / "attachments").glob("*/*"):
        kept.unlink()
    assert "1 given up" == run(crm)


def test_nothing_of_an_erased_person_stays_in_a_campaign(crm: CRM, people: list[int]) -> None:
    send_to_many(crm, MAILING, people[:2])
    for each in people[:2]:
        crm.privacy.erase(each)
    kept = list(crm.records(OutboxMessage).find())
    assert [None, None] == [each.once for each in kept]
    assert not any("p0@" in f"{each}" or "p1@" in f"{each}" for each in kept)
    assert "2 given up" == run(crm)


def test_the_outbox_is_a_service_that_holds_one_message_of_a_name(crm: CRM, people: list[int]) -> None:
    assert crm.outbox is crm.service("outbox")
    crm.outbox.send("Once", customer=people[0], once="order 7")
    with pytest.raises(DuplicateKey):
        crm.outbox.send("Once", customer=people[0], once="order 7")
    with pytest.raises(NotFound, match="no plugin at work does the service 'inbox'"):
        crm.service("inbox")


def test_the_command_sends_to_many_and_says_what_came_of_it(crm: CRM, place: Path, people: list[int]) -> None:
    cli = Cli(place)
    german = ("send", "--where", 'country = "DE"', "--template", "news")
    counted = cli.json(*german, "--dry-run")
    assert (9, 7, True) == (counted["people"], counted["queued"], counted["dry_run"])
    assert "would be queued" in cli(*german, "--dry-run")
    told = cli(*german, "--campaign", "nowruz")
    assert "takes back what still waits" in told
    assert 7 == cli.json(*german, "--campaign", "nowruz")["before"]
    assert 0 == cli.json(*german, "--campaign", "nowruz")["queued"]
    for wrong in (
        ["send", "--where", 'country = "DE"'],
        ["send", "Person 1", "x", "--where", 'country = "DE"', "--template", "news"],
        ["send", "Person 1", "--dry-run"],
        ["send"],
        ["send", "Person 1"],
        ["send", "Person 1", "x", "--template", "news"],
        ["send", "--segment", "nothing", "--template", "news"],
        ["send", "--where", "countri = 1", "--template", "news"],
        [*german, "--set", "1x"],
    ):
        assert cli(*wrong, code=2), wrong


def test_the_command_takes_a_group_of_a_segment(crm: CRM, place: Path, people: list[int]) -> None:
    cli = Cli(place)
    assert 0 == cli.json("send", "--segment", "abc", "--template", "news", "--dry-run")["people"]
    assert "no group 'Z'" in cli("send", "--segment", "abc", "--label", "Z", "--template", "news", code=2)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="NOT RUN: nothing can be killed here")
def test_killed_at_any_moment_it_goes_on_and_one_undo_takes_all_back(place: Path) -> None:
    with CRM.open(place) as crm:
        crm.records(MessageTemplate).add(MessageTemplate(name="news", body="News"))
        with crm.transaction():
            for number in range(400):
                made = crm.customers.add(Customer(name=f"P{number}"), email=f"p{number}@example.org")
                consent(crm, made.id, "granted")
        crm.customers.count()
    command = [sys.executable, "-m", "crm_core", "-w", str(place), "send", "--where", "not name is null"]
    command += ["--template", "news", "--campaign", "k"]
    with CRM.open(place) as crm:
        for wanted in (1, 120, 260):
            writer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while crm.records(OutboxMessage).count() < wanted and writer.poll() is None:
                time.sleep(0.005)
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
        there = crm.records(OutboxMessage).count()
        assert 260 <= there <= 400
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        messages = list(crm.records(OutboxMessage).find(limit=None))
        assert (400, 400) == (len(messages), len({each.address for each in messages}))
        (operation,) = [each for each in crm.ledger.operations() if each.label == "send k"]
        assert "done" == operation.state
        crm.ledger.undo(operation.id)
        assert (0, 0, 0) == (
            crm.records(OutboxMessage).count(),
            crm.interactions.count(),
            crm.records(Campaign).count(),
        )
