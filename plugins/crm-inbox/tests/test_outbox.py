from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from crm_channel_folder.channel import FolderChannel
from crm_core import CRM, Consent, Customer, hookimpl
from crm_core.errors import CredentialsWrong, MessageRejected, NotFound, TryLater, UndoRefused, UsageError
from crm_core.events import ContactKeyWanted
from crm_core.extend import JobRun, OutgoingMessage, Receipt, Received, StatusReceipt
from crm_core.values import FixedClock
from crm_inbox import OutboxMessage, receive, send
from crm_inbox.consent import quiet_until, refusal
from crm_inbox.retrying import try_again
from crm_inbox.sending import PAUSES, send_account, sending_accounts, something_waits

from .conftest import NOW, Arrive, poll
from .test_intake import message

pytestmark = pytest.mark.database("sqlite")
Moved = Callable[[timedelta], None]


@pytest.fixture
def sara(crm: CRM) -> Customer:
    return crm.customers.add(Customer(name="سارا احمدی", time_zone="Asia/Tehran"), email="sara@example.org")


@pytest.fixture
def later(crm: CRM) -> Moved:
    """Moves the clock on."""

    def move(by: timedelta) -> None:
        crm.clock = FixedClock(crm.clock.now() + by)

    return move


def run(crm: CRM) -> str:
    return send_account(JobRun(crm=crm, part="desk", stopping=lambda: False)).told


def only(crm: CRM) -> OutboxMessage:
    (found,) = crm.records(OutboxMessage).find()
    return found


def left(place: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((place / "desk/out").glob("*.json"))]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Errors that the channel raises, one a message, before it works again."""
    errors: list[Exception] = []
    real = FolderChannel.send

    def send_or_fail(self: FolderChannel, message: OutgoingMessage) -> Any:
        if errors:
            raise errors.pop(0)
        return real(self, message)

    monkeypatch.setattr(FolderChannel, "send", send_or_fail)
    return errors


def test_a_message_leaves_once_and_is_in_the_customers_history(crm: CRM, place: Path, sara: Customer) -> None:
    queued = send(crm, "سلام", customer=sara.id, subject="سفارش")
    assert ("queued", True) == (queued.status, something_waits(crm, "desk"))
    assert ("1 sent", "") == (run(crm), run(crm))
    (gone,) = left(place)
    assert (queued.message_id, "سلام", "سفارش", "sara@example.org") == (
        gone["message_id"],
        gone["text"],
        gone["subject"],
        gone["recipient"]["value"],
    )
    assert ("sent", NOW, True) == (only(crm).status, only(crm).sent_at, bool(only(crm).provider_id))
    (said,) = crm.interactions.find('direction = "out"')
    assert (sara.id, "folder", "سلام") == (said.customer_id, said.channel, said.body)


def test_a_reply_goes_to_who_wrote_names_what_it_answers_and_settles_the_thread(
    crm: CRM, place: Path, arrive: Arrive
) -> None:
    arrive("<1@x>", "First", thread="t7", subject="Where is it?")
    arrive("<2@x>", "Second", thread="t7", subject="Where is it?")
    poll(crm)
    last = crm.interactions.find(sort="-id")[0]
    send(crm, "On its way", answers=last)
    run(crm)
    (gone,) = left(place)
    assert ("Re: Where is it?", "t7", ["<2@x>", "<1@x>"]) == (gone["subject"], gone["thread"], gone["replies_to"])
    assert 0 == crm.interactions.count("needs_answer = true")
    assert 1 == len({one.thread for one in crm.interactions.find()})
    receive(crm, "desk", Received(messages=[message("3", replies_to=(gone["message_id"],))]))
    assert 1 == len({one.thread for one in crm.interactions.find()}), "an answer to ours stays in the thread"


def test_killed_between_sending_and_noting_it_the_repetition_has_the_same_id(
    crm: CRM, place: Path, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(crm, "Hello", customer=sara.id)

    class Killed(BaseException):
        pass

    def die(*args: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("crm_inbox.sending._note_sent", die)
        with pytest.raises(Killed):
            run(crm)
    assert ("sending", 1) == (only(crm).status, len(left(place)))
    assert "1 sent" == run(crm)
    assert [only(crm).message_id] == [each["message_id"] for each in left(place)]


def test_that_one_left_is_noted_with_the_next_so_that_a_message_costs_one_commit(
    crm: CRM, place: Path, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FolderChannel.send

    def send_without_id(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        real(self, message)
        return Receipt()

    monkeypatch.setattr(FolderChannel, "send", send_without_id)
    for number in range(10):
        send(crm, f"text {number}", customer=sara.id)
    before = crm.ledger.history.head()
    assert "10 sent" == run(crm)
    assert (11, 10) == (crm.ledger.history.head() - before, len(left(place)))


def test_what_a_service_calls_a_message_is_noted_before_the_next_one_leaves(
    crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [send(crm, f"text {number}", customer=sara.id) for number in range(3)]
    real, told = FolderChannel.send, list[int]()

    def send_and_look(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        told.append(crm.records(OutboxMessage).count("not provider_id is null"))
        return real(self, message)

    monkeypatch.setattr(FolderChannel, "send", send_and_look)
    assert ("3 sent", [0, 1, 2]) == (run(crm), told)
    assert {None} != {crm.records(OutboxMessage).get(each.id).provider_id for each in made}


def test_a_message_costs_two_looks_and_two_ways_of_writing_however_many_wait(
    crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("find", "get_many", "update_if_version"):
        real = getattr(crm.storage, name)

        def count(table: str, *given: Any, real: Any = real, name: str = name, **named: Any) -> Any:
            asked.append(f"{name} {table}")
            return real(table, *given, **named)

        monkeypatch.setattr(crm.storage, name, count)
    counts = []
    for wanted in (1, 11):
        for number in range(wanted):
            send(crm, f"text {number}", customer=sara.id)
        asked.clear()
        assert f"{wanted} sent" == run(crm)
        counts.append({name: asked.count(name) for name in set(asked)})
    few, many = counts
    beyond = {name: (many[name] - few[name]) / 10 for name in many if many[name] != few[name]}
    assert {
        "find contact_points": 1,
        "find consents": 1,
        "update_if_version outbox_messages": 2,  # that the one before left; when it did, with taking this one
        "find ledger_transactions": 1,  # the link that a commit goes on from
    } == beyond


def test_what_is_withdrawn_while_a_batch_leaves_holds_the_rest_of_it(
    crm: CRM, place: Path, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = [send(crm, f"text {number}", customer=sara.id) for number in range(3)]
    real = FolderChannel.send

    def send_and_withdraw(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        # By another customer even, who was not there when the batch was looked up.
        other = crm.customers.add(Customer(name="Ada"), email="SARA@example.org")
        point = crm.customers.contact_points(other.id)[0]
        crm.records(Consent).add(Consent(contact_point_id=point.id, purpose="service", status="withdrawn", at=NOW))
        return real(self, message)

    monkeypatch.setattr(FolderChannel, "send", send_and_withdraw)
    assert "1 sent, 2 given up" == run(crm)
    assert [queued[0].message_id] == [each["message_id"] for each in left(place)]
    assert ["sent", "failed", "failed"] == [each.status for each in crm.records(OutboxMessage).find(sort="id")]


def test_a_receipt_that_is_quicker_than_we_keeps_what_the_service_said_of_the_sending(
    crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _account(crm, per_minute=1)
    send(crm, "one", customer=sara.id)
    real = FolderChannel.send

    def send_and_hear(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        real(self, message)
        receipt = StatusReceipt(message_id=message.message_id, status="delivered", at=NOW)
        assert 1 == receive(crm, "desk", Received(receipts=[receipt])).receipts
        return Receipt(provider_id="theirs")

    monkeypatch.setattr(FolderChannel, "send", send_and_hear)
    assert "1 sent" == run(crm)
    noted = only(crm)
    assert ("delivered", NOW, "theirs", NOW) == (
        noted.status,
        noted.delivered_at,
        noted.provider_id,
        noted.sent_at,
    )
    send(crm, "two", customer=sara.id)
    assert "" == run(crm), "the account's pace counts it"
    receive(crm, "desk", Received(receipts=[StatusReceipt(message_id="theirs", status="read", at=NOW)]))
    assert "read" == crm.records(OutboxMessage).get(noted.id).status


def test_a_message_that_is_written_meanwhile_keeps_the_one_before_it_noted(
    crm: CRM, place: Path, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (send(crm, text, customer=sara.id) for text in ("one", "two"))
    real = FolderChannel.send

    def send_and_write(self: FolderChannel, message: OutgoingMessage) -> Receipt:
        if message.message_id == first.message_id:
            crm.records(OutboxMessage).edit(second.evolve(purpose="another"))
        real(self, message)
        return Receipt()

    monkeypatch.setattr(FolderChannel, "send", send_and_write)
    assert "1 sent" == run(crm)
    assert ["sent", "queued"] == [each.status for each in crm.records(OutboxMessage).find(sort="id")]
    assert [first.message_id] == [each["message_id"] for each in left(place)]


@pytest.mark.parametrize("step", range(6))
def test_killed_at_any_commit_nothing_is_lost_and_nothing_has_a_second_id(
    crm: CRM, place: Path, sara: Customer, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    wanted = {send(crm, text, customer=sara.id).message_id for text in ("one", "two")}
    real, commits = crm.storage.commit, iter(range(1_000))

    class Killed(BaseException):
        pass

    def commit() -> None:
        if next(commits) == step:
            raise Killed
        real()

    with monkeypatch.context() as patch:
        patch.setattr(crm.storage, "commit", commit)
        with suppress(Killed):
            run(crm)
    run(crm)
    assert wanted == {each["message_id"] for each in left(place)}
    assert ["sent", "sent"] == [one.status for one in crm.records(OutboxMessage).find()]


def test_a_service_that_is_away_is_tried_again_ever_later_and_then_given_up(
    crm: CRM, sara: Customer, later: Moved, failing: list[Exception]
) -> None:
    asked = send(crm, "Hello", customer=sara.id)
    waited = []
    for pause in PAUSES:
        failing[:] = [TryLater("busy")]
        assert "" == run(crm)
        found = only(crm)
        assert isinstance(found.next_at, datetime)
        waited.append((found.next_at - crm.clock.now()).total_seconds())
        assert ("queued", "busy", False) == (found.status, found.reason, something_waits(crm, "desk"))
        later(timedelta(seconds=pause))
    assert list(PAUSES) == waited
    failing[:] = [TryLater("busy")]
    assert "1 given up" == run(crm)
    assert ("failed", "given up after 8 attempts: busy") == (only(crm).status, only(crm).reason)
    try_again(crm, only(crm))
    assert ("1 sent", asked.message_id) == (run(crm), only(crm).message_id)
    with pytest.raises(UsageError):
        try_again(crm, only(crm))


def test_a_delay_that_the_service_asks_for_is_kept(crm: CRM, sara: Customer, failing: list[Exception]) -> None:
    send(crm, "Hello", customer=sara.id)
    failing[:] = [TryLater("slow down", delay=7_200)]
    run(crm)
    assert NOW + timedelta(hours=2) == only(crm).next_at


def test_what_is_rejected_is_given_up_and_its_question_waits_again(
    crm: CRM, arrive: Arrive, failing: list[Exception]
) -> None:
    arrive("1")
    poll(crm)
    (asked,) = crm.interactions.find()
    send(crm, "Yes", answers=asked)
    failing[:] = [MessageRejected("no such recipient canary-5f2d9c1b7e")]
    assert "1 given up" == run(crm)
    assert "no such recipient ***" == only(crm).reason
    assert crm.interactions.get(asked.id).needs_answer


def test_wrong_credentials_stop_the_account_and_cost_no_message_an_attempt(
    crm: CRM, sara: Customer, failing: list[Exception]
) -> None:
    send(crm, "Hello", customer=sara.id)
    failing[:] = [CredentialsWrong("the key is not known")]
    with pytest.raises(CredentialsWrong):
        run(crm)
    assert ("queued", 0) == (only(crm).status, only(crm).attempts)
    assert "1 sent" == run(crm)


def test_an_account_keeps_its_pace(crm: CRM, place: Path, sara: Customer, later: Moved) -> None:
    _account(crm, per_minute=2)
    for number in range(5):
        send(crm, f"Hello {number}", customer=sara.id)
    sent = []
    for _ in range(3):
        sent.append(run(crm))
        done = send_account(JobRun(crm=crm, part="desk", stopping=lambda: False))
        assert done.again_in is None or 0 < done.again_in <= 60
        later(timedelta(seconds=61))
    assert ["2 sent", "2 sent", "1 sent"] == sent


def test_to_keep_a_pace_costs_no_more_however_many_left(
    crm: CRM, sara: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    paced = attrs.evolve(crm.settings.channels["desk"], per_minute=500)
    crm.settings = attrs.evolve(crm.settings, channels={"desk": paced})
    crm.__dict__.pop("channels", None)
    for number in range(60):
        send(crm, f"text {number}", customer=sara.id)
    read: list[int] = []
    real = crm.storage.find

    def find(table: str, *given: Any, **named: Any) -> Any:
        found = real(table, *given, **named)
        read.append(len(found) if table == "outbox_messages" else 0)
        return found

    monkeypatch.setattr(crm.storage, "find", find)
    assert "60 sent" == run(crm)
    assert sum(read) < 300, "a page of what is due, and not all that left before each"


def test_what_nobody_asked_for_waits_for_the_end_of_the_customers_night(crm: CRM, sara: Customer, later: Moved) -> None:
    _account(crm, quiet_hours=(time(12), time(8)))  # it is 12:30 in Tehran
    point = crm.customers.contact_points(sara.id)[0]
    crm.records(Consent).add(Consent(contact_point_id=point.id, purpose="news", status="granted", at=NOW))
    send(crm, "News", customer=sara.id, purpose="news")
    assert "" == run(crm)
    assert ("queued", "quiet hours", datetime(2026, 11, 23, 4, 30, tzinfo=UTC)) == (
        only(crm).status,
        only(crm).reason,
        only(crm).next_at,
    )
    send(crm, "An answer", customer=sara.id)
    assert "1 sent" == run(crm)
    later(timedelta(hours=20))
    assert "1 sent" == run(crm)


@pytest.mark.parametrize(
    ("hours", "now", "ends"),
    [
        ((time(22), time(8)), "2026-03-28T21:00+00:00", "2026-03-29T06:00+00:00"),  # the night loses an hour
        ((time(22), time(2, 30)), "2026-03-28T23:00+00:00", "2026-03-29T01:30+00:00"),  # there is no 02:30
        ((time(22), time(8)), "2026-10-24T21:00+00:00", "2026-10-25T07:00+00:00"),  # and gains it again
        ((time(22), time(2, 30)), "2026-10-25T00:45+00:00", None),
        ((time(22), time(8)), "2026-06-01T07:00+00:00", None),
        ((time(12), time(14)), "2026-06-01T10:00+00:00", "2026-06-01T12:00+00:00"),
        (None, "2026-06-01T00:00+00:00", None),
    ],
)
def test_quiet_hours_pass_midnight_and_the_changes_of_the_clock(
    hours: tuple[time, time] | None, now: str, ends: str | None
) -> None:
    found = quiet_until(hours, datetime.fromisoformat(now), ZoneInfo("Europe/Berlin"))
    assert ends == (found.isoformat(timespec="minutes") if found else None)


def test_consent_counts_when_the_message_leaves_for_everybody_at_the_address(
    crm: CRM, place: Path, sara: Customer, later: Moved
) -> None:
    point = crm.customers.contact_points(sara.id)[0]
    other = crm.customers.add(Customer(name="Ada"), email="SARA@example.org")
    grants = crm.records(Consent)
    send(crm, "Offer", customer=sara.id, purpose="marketing")
    assert "1 given up" == run(crm)
    assert "there is no consent for 'marketing'" == only(crm).reason
    grants.add(Consent(contact_point_id=point.id, purpose="marketing", status="granted", at=NOW))
    send(crm, "Offer", customer=sara.id, purpose="marketing")
    assert "1 sent" == run(crm)
    send(crm, "Offer", customer=sara.id, purpose="marketing")  # waits when consent is withdrawn, by who shares it
    shared = crm.customers.contact_points(other.id)[0]
    grants.add(Consent(contact_point_id=shared.id, purpose="marketing", status="withdrawn", at=NOW))
    assert "1 given up" == run(crm)
    grants.add(Consent(contact_point_id=point.id, purpose="service", status="withdrawn", at=NOW))
    send(crm, "Your order", customer=sara.id)
    assert ("1 given up", 1) == (run(crm), len(left(place)))


class Keys:
    """Numbers of Germany get its code, as a plugin for contact points does it."""

    @hookimpl
    def choose_contact_key(self, event: ContactKeyWanted) -> str | None:
        at_home = event.kind == "phone" and event.country == "DE" and event.value.startswith("0")
        return f"+49{event.value[1:].replace(' ', '')}" if at_home else None


def test_a_withdrawn_consent_is_found_by_whatever_key_a_plugin_gave_the_number(place: Path, clock: FixedClock) -> None:
    with CRM.open(place, clock=clock, plugins=[Keys()]) as crm:
        olga = crm.customers.add(Customer(name="Olga", country="DE"), phone="0170 1234567")
        (point,) = crm.customers.contact_points(olga.id)
        assert "+491701234567" == point.key
        crm.records(Consent).add(Consent(contact_point_id=point.id, purpose="service", status="withdrawn", at=NOW))
        written = OutboxMessage(
            message_id="<1>", account="desk", customer_id=olga.id, address_kind="phone", address="0170 1234567"
        )
        assert "consent for 'service' was withdrawn" == refusal(crm, written, olga)
        assert "" == refusal(crm, written.evolve(address="0170 7654321"), olga)


def test_receipts_are_noted_in_any_order_and_a_bounce_fails_the_message(crm: CRM, sara: Customer) -> None:
    first, second = (send(crm, text, customer=sara.id) for text in ("one", "two"))
    run(crm)
    statuses = ("read", "delivered", "sent")
    receipts = [StatusReceipt(message_id=first.message_id, status=one, at=NOW) for one in statuses]  # type: ignore[arg-type]
    assert (1, 0) == tuple(receive(crm, "desk", Received(receipts=receipts)).receipts for _ in range(2))
    noted = crm.records(OutboxMessage).get(first.id)
    assert ("read", NOW) == (noted.status, noted.read_at)
    bounce = message("b", automatic="bounce", subject="Undelivered", replies_to=(second.message_id,))
    receive(crm, "desk", Received(messages=[bounce]))
    assert ("failed", "it came back: Undelivered") == (
        crm.records(OutboxMessage).get(second.id).status,
        crm.records(OutboxMessage).get(second.id).reason,
    )


def test_machines_do_not_answer_machines(crm: CRM, arrive: Arrive) -> None:
    arrive("1", thread="t")
    arrive("2", thread="u", headers={"Auto-Submitted": "auto-replied"})
    poll(crm)
    person, machine = crm.interactions.find(sort="id")
    send(crm, "We are away", answers=person, automatic=True)
    for answered in (person, machine):
        with pytest.raises(MessageRejected):
            send(crm, "We are away", answers=answered, automatic=True)
    assert crm.interactions.get(person.id).needs_answer, "an automatic reply is no answer"


@pytest.mark.parametrize(
    ("asked", "refused"), [("OOF", True), ("DR, AutoReply", True), ("All", True), ("DR, RN", False)]
)
def test_who_asks_for_no_automatic_answer_gets_none_and_waits_for_a_person(
    crm: CRM, arrive: Arrive, asked: str, refused: bool
) -> None:
    arrive("1", headers={"X-Auto-Response-Suppress": asked})
    poll(crm)
    (person,) = crm.interactions.find()
    assert person.needs_answer
    if refused:
        with pytest.raises(MessageRejected, match="no automatic answer"):
            send(crm, "We are away", answers=person, automatic=True)
    else:
        send(crm, "We are away", answers=person, automatic=True)
    send(crm, "I am here", answers=person)
    assert [False] == [each.automatic for each in crm.records(OutboxMessage).find("automatic = false")]
    assert int(not refused) == crm.records(OutboxMessage).count("automatic = true")


def test_two_houses_that_answer_by_themselves_exchange_one_reply_each_at_most(crm: CRM) -> None:
    for number in range(10):  # the other side does not say that it is a machine
        receive(crm, "desk", Received(messages=[message(str(number), thread="t")]))
        last = crm.interactions.find(sort="-id", limit=1)[0]
        if number == 0:
            send(crm, "We are away", answers=last, automatic=True)
        else:
            with pytest.raises(MessageRejected):
                send(crm, "We are away", answers=last, automatic=True)
    assert 1 == crm.records(OutboxMessage).count()


def test_a_message_for_nobody_or_by_no_account_is_refused(crm: CRM, sara: Customer) -> None:
    nobody = crm.customers.add(Customer(name="Nobody"))
    for wrong in (
        {"customer": nobody.id},
        {"customer": sara.id, "account": "shop"},
    ):
        with pytest.raises(NotFound):
            send(crm, "Hello", **wrong)  # type: ignore[arg-type]
    for text, wrong in (("  ", {"customer": sara.id}), ("Hello", {})):
        with pytest.raises(UsageError):
            send(crm, text, **wrong)  # type: ignore[arg-type]
    assert (0, 0) == (crm.records(OutboxMessage).count(), crm.interactions.count())


def test_what_waits_for_an_erased_person_does_not_leave(crm: CRM, place: Path, sara: Customer) -> None:
    send(crm, "Hello", customer=sara.id)
    crm.privacy.erase(sara.id)
    run(crm)
    assert [] == left(place)


def test_undo_takes_back_what_waits_and_neither_calls_back_nor_repeats_what_left(
    crm: CRM, place: Path, sara: Customer
) -> None:
    before = crm.ledger.history.last()
    send(crm, "first", customer=sara.id)
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert (0, 0, "") == (crm.records(OutboxMessage).count(), crm.interactions.count(), run(crm))
    send(crm, "second", customer=sara.id)
    written = crm.ledger.resolve("last")
    assert "1 sent" == run(crm)
    with suppress(UndoRefused):
        crm.ledger.undo(written)
    assert (1, 1) == (crm.records(OutboxMessage).count(), crm.interactions.count())
    assert before is not None
    for operation in crm.ledger.operations(limit=50):
        if operation.id > before.id and operation.id != written and operation.undoes is None:
            with suppress(UndoRefused):
                crm.ledger.undo(operation.id)
    assert ("", "sent", 1) == (run(crm), only(crm).status, len(left(place)))


def test_two_workers_share_the_outbox_and_nothing_leaves_twice(crm: CRM, place: Path, sara: Customer) -> None:
    for number in range(6):
        send(crm, f"Hello {number}", customer=sara.id)
    with CRM.open(place) as second:
        assert {"desk": 0.0} == sending_accounts(second)
        first_run, second_run = crm.jobs.run(), second.jobs.run()
    told = [one.told for one in [*first_run, *second_run] if one.job == "send"]
    assert ["6 sent"] == [one for one in told if one]
    assert 6 == len({each["message_id"] for each in left(place)})


def _account(crm: CRM, **rules: Any) -> None:
    settings = attrs.evolve(crm.settings, channels={"desk": attrs.evolve(crm.settings.channels["desk"], **rules)})
    crm.settings = settings
    crm.__dict__.pop("channels", None)
