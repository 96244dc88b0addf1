"""Delivery: in ledger order, at least once, each subscriber by itself; rules that set themselves off."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, hookimpl
from crm_core.events import Changed, CustomersChanged, DealsChanged
from crm_core.ledger.tables import CURSORS
from crm_core.records import LifecycleChange
from tests.opening import url_of


class Listener:
    """Keeps what it is told of customers; `fail` says what to raise."""

    def __init__(self, fail: Callable[[], BaseException | None] = lambda: None) -> None:
        self.events: list[Changed[Any]] = []
        self.fail = fail

    @hookimpl
    def on_customers_changed(self, event: CustomersChanged) -> None:
        error = self.fail()
        if error is not None:
            raise error
        self.events.append(event)

    @property
    def told(self) -> list[tuple[str, int]]:
        return [(change.action, change.id) for event in self.events for change in event.changes]


class Historian(Listener):
    """Also wants to hear of imports and undos."""

    @hookimpl(include=["import", "undo"])
    def on_customers_changed(self, event: CustomersChanged) -> None:
        self.events.append(event)


def due_now(crm: CRM) -> None:
    """Let the pauses pass."""
    rows = crm.storage.find(CURSORS.name)
    place = CURSORS.column_names.index("next_at")
    crm.storage.begin()
    crm.storage.put_many(CURSORS.name, CURSORS.column_names, [(*r[:place], 0, *r[place + 1 :]) for r in rows])
    crm.storage.commit()


def test_changes_arrive_after_commit_in_ledger_order_as_records_are_now(url: str) -> None:
    listener = Listener()
    with CRM.open(url, plugins=[listener]) as crm:
        with crm.transaction():
            ada = crm.customers.add(Customer(name="Ada", tags=("vip",)))
            assert [] == listener.events
        changed = crm.customers.edit(ada.evolve(name="Ada L.", tags=("vip", "uk")))
        crm.customers.delete(changed)
        assert [("created", ada.id), ("updated", ada.id), ("deleted", ada.id)] == listener.told
        first, second, third = (event.changes[0] for event in listener.events)
        assert ada == first.record
        assert (changed, ("Ada", "Ada L.")) == (second.record, second.fields["name"])
        assert "tags" in second.fields
        assert third.record is None
        assert third.before is not None
        assert "Ada L." == third.before.name
        assert [1, 2, 3] == [event.position for event in listener.events]


def test_a_bulk_write_arrives_in_batches(url: str) -> None:
    listener = Listener()
    with CRM.open(url, plugins=[listener]) as crm:
        crm.customers.add_many(Customer(name=f"C{n}", tags=("t",)) for n in range(1_500))
    assert [1_000, 500] == [len(event.changes) for event in listener.events]
    assert {("t",)} == {change.record.tags for event in listener.events for change in event.changes}


def test_imports_and_undos_reach_only_who_asks_for_them(url: str) -> None:
    listener, historian = Listener(), Historian()
    with CRM.open(url, plugins=[listener, historian]) as crm:
        with crm.operation("import", kind="import"):
            crm.customers.add(Customer(name="Ada"))
        crm.ledger.undo(crm.ledger.resolve("last"))
        crm.customers.add(Customer(name="Bob"))
    assert ["user"] == [event.origin.kind for event in listener.events]
    assert ["import", "undo", "user"] == [event.origin.kind for event in historian.events]


@pytest.mark.database("sqlite")
def test_what_happened_before_a_first_install_is_not_delivered(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    with CRM.open(url) as crm:
        crm.customers.add(Customer(name="Old"))
    listener = Listener()
    with CRM.open(url, plugins=[listener]) as crm:
        new = crm.customers.add(Customer(name="New"))
    assert [("created", new.id)] == listener.told


@pytest.mark.database("sqlite")
def test_what_happened_while_a_subscriber_was_away_arrives_when_it_is_back(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    with CRM.open(url, plugins=[Listener()]):
        pass
    with CRM.open(url) as crm:
        missed = crm.customers.add(Customer(name="Missed"))
    listener = Listener()
    with CRM.open(url, plugins=[listener]) as crm:
        crm.ledger.deliver()
    assert [("created", missed.id)] == listener.told


def test_a_failing_subscriber_is_tried_again_later_and_others_go_on(url: str) -> None:
    failures: list[BaseException | None] = [ValueError("mail server away"), None]
    weak, strong = Listener(lambda: failures.pop(0)), Historian()
    with CRM.open(url, plugins=[weak, strong]) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        assert ([], 1) == (weak.told, len(strong.events))
        (cursor,) = [one for one in crm.ledger.delivery.cursors() if one.error]
        assert (1, True) == (cursor.attempts, "mail server away" in str(cursor.error))
        assert 0 == crm.ledger.deliver().delivered, "not before its pause is over"
        due_now(crm)
        assert 1 == crm.ledger.deliver().delivered
    assert [("created", ada.id)] == weak.told


def test_what_fails_time_and_again_is_parked_and_shown_and_the_next_arrives(url: str) -> None:
    failing = True
    listener = Listener(lambda: ValueError("always") if failing else None)
    with CRM.open(url, plugins=[listener]) as crm:
        crm.customers.add(Customer(name="Ada"))
        for _ in range(4):
            due_now(crm)
            crm.ledger.deliver()
        assert [(1, True)] == [(one.position, "always" in one.error) for one in crm.ledger.delivery.parked()]
        failing = False
        bob = crm.customers.add(Customer(name="Bob"))
    assert [("created", bob.id)] == listener.told


def test_a_subscriber_that_is_interrupted_is_called_again(url: str) -> None:
    interruptions: list[BaseException | None] = [KeyboardInterrupt(), None]
    listener = Listener(lambda: interruptions.pop(0))
    with CRM.open(url, plugins=[listener]) as crm:
        with pytest.raises(KeyboardInterrupt):
            crm.customers.add(Customer(name="Ada"))
        assert 1 == crm.customers.count(), "it was committed before"
        assert 1 == crm.ledger.deliver().delivered
    assert 1 == len(listener.events)


def test_what_a_rule_writes_is_a_consequence_and_is_taken_back_with_its_cause_on_request(url: str) -> None:
    class Rule:
        @hookimpl
        def on_deals_changed(self, event: DealsChanged) -> None:
            for change in event.changes:
                if change.action == "created" and change.record and change.record.customer_id:
                    customer = event.crm.customers.get(change.record.customer_id)
                    event.crm.customers.edit(customer.evolve(next_step="welcome"))

    listener = Listener()
    with CRM.open(url, plugins=[Rule(), listener]) as crm:
        ada = crm.customers.add(Customer(name="Ada"))
        crm.deals.add(Deal(title="D", customer_id=ada.id))
        rule, cause, _ = crm.ledger.operations()
        assert ("rule", cause.id) == (rule.kind, rule.cause)
        assert cause.id == crm.ledger.resolve("last")
        assert "welcome" == crm.customers.get(ada.id).next_step
        assert [(cause.id,)] == [event.origin.causes for event in listener.events if event.origin.kind == "rule"]
        assert (rule.id,) == tuple(one.id for one in crm.ledger.undo(cause.id, dry_run=True).consequences)
        said = crm.ledger.undo(cause.id, dry_run=True, with_consequences=True)
        done = crm.ledger.undo(cause.id, with_consequences=True)
        assert {"customer": 1, "deal": 1, "stage_change": 1} == dict(said.reversed) == dict(done.reversed)
        assert (None, 0) == (crm.customers.get(ada.id).next_step, crm.deals.count())
        assert {"undone"} == {crm.ledger.get(one.id).state for one in (rule, cause)}
        crm.ledger.undo(int(done.undo_id or 0))
        assert ("welcome", 1) == (crm.customers.get(ada.id).next_step, crm.deals.count())
        assert {"done"} == {crm.ledger.get(one.id).state for one in (rule, cause)}


def test_a_rule_that_sets_itself_off_is_stopped_and_the_chain_is_told(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Restless:
        calls = 0

        @hookimpl
        def on_customers_changed(self, event: CustomersChanged) -> None:
            self.calls += 1
            for change in event.changes:
                if change.record:
                    event.crm.customers.edit(change.record.evolve(city=f"{self.calls}"))

    rule = Restless()
    with CRM.open(url, plugins=[rule]) as crm:
        crm.customers.add(Customer(name="Ada"))
    assert 1 == rule.calls
    assert "would set itself off again; stopped after: add customer (user) > edit customer" in caplog.text


def test_a_subscriber_may_write_several_records_in_a_transaction_of_its_own(url: str) -> None:
    class Rule:
        @hookimpl
        def on_customers_changed(self, event: CustomersChanged) -> None:
            with event.crm.transaction():
                for change in event.changes:
                    made = LifecycleChange(customer_id=change.id, to_state="new", at=event.at)
                    event.crm.records(LifecycleChange).add(made)

    with CRM.open(url, plugins=[Rule()]) as crm:
        crm.customers.add_many(Customer(name=f"C{n}") for n in range(3))
        assert ["rule", "user"] == [one.kind for one in crm.ledger.operations()]
        assert 3 == crm.records(LifecycleChange).count()


WORKER = """
import sys, time
from crm_core import CRM, hookimpl
class Slow:
    @hookimpl
    def on_customers_changed(self, event):
        with open(sys.argv[2], "a") as told:
            for change in event.changes:
                told.write(f"{change.id}\\n")
        time.sleep(0.005)
with CRM.open(sys.argv[1], plugins=[Slow()]) as crm:
    print("ready", flush=True)
    sys.stdin.readline()
    while crm.ledger.deliver(seconds=60).delivered:
        pass
"""


@pytest.mark.database("sqlite")
def test_two_processes_do_not_both_deliver_and_one_killed_loses_nothing(tmp_path: Path) -> None:
    url, told = f"sqlite:///{tmp_path}/team.db", tmp_path / "told"

    def worker() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, url, str(told)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def go(*workers: subprocess.Popen[str]) -> None:
        for one in workers:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()

    def ready(one: subprocess.Popen[str]) -> None:
        assert one.stdout is not None
        assert "ready\n" == one.stdout.readline()

    first = worker()
    ready(first)
    with CRM.open(url) as crm:
        ids = [crm.customers.add(Customer(name=f"C{n}")).id for n in range(60)]
    second = worker()
    ready(second)
    go(first, second)
    first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert ids == [int(line) for line in told.read_text().split()], "each once, in order"
    if os.name == "nt":
        return
    with CRM.open(url) as crm:
        more = [crm.customers.add(Customer(name=f"D{n}")).id for n in range(60)]
    third = worker()
    ready(third)
    go(third)
    while len(told.read_text().split()) < 75:
        assert third.poll() is None
    third.kill()
    third.communicate(timeout=60)
    fourth = worker()
    ready(fourth)
    go(fourth)
    fourth.communicate(timeout=60)
    delivered = [int(line) for line in told.read_text().split()]
    assert [*ids, *more] == list(dict.fromkeys(delivered)), "none lost, in order"
    assert len(delivered) <= len(ids) + len(more) + 1, "again only what was called and not yet noted"
