"""Who delivers: one worker at a time for each subscriber, whatever clocks say; one who lost its lease moves nothing."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import attrs
import pytest

from crm_core import CRM, Customer, hookimpl
from crm_core.errors import NotFound, StorageConflict, UsageError
from crm_core.events import CustomersChanged
from crm_core.ledger import leases
from crm_core.ledger.compaction import CompactReport
from crm_core.ledger.leases import Cursor
from crm_core.ledger.standing import standings
from crm_core.ledger.telling import Call
from tests.databases import DATABASES
from tests.opening import url_for

ELSEWHERE = "another-machine:1:1#1"
GONE = f"{platform.node()}:999999999:0#1"


class Listener:
    """Keeps the positions it is told of; `during` is called in each call."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.during: Any = lambda: None

    @hookimpl
    def on_customers_changed(self, event: CustomersChanged) -> None:
        self.told.append(event.position)
        self.during()


@pytest.fixture(params=DATABASES)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that several may open, with cursors of `Listener` and nobody told of two transactions."""
    with url_for(str(request.param), tmp_path) as url:
        with CRM.open(url, plugins=[Listener()]):
            pass
        with CRM.open(url) as crm:
            for name in ("Ada", "Սառա"):
                crm.customers.add(Customer(name=name))
        yield url


def cursor_of(crm: CRM) -> Cursor:
    (found,) = [one for one in crm.ledger.delivery.cursors() if one.plugin == "Listener"]
    return found


def change(crm: CRM, **fields: Any) -> None:
    crm.ledger.delivery.leases.save([attrs.evolve(cursor_of(crm), **fields)])


def test_while_one_worker_tells_a_subscriber_no_other_does(shared: str) -> None:
    first, second = Listener(), Listener()
    with CRM.open(shared, plugins=[first]) as crm, CRM.open(shared, plugins=[second]) as other:
        first.during = lambda: other.ledger.deliver()
        assert 2 == crm.ledger.deliver().delivered
        assert ([1, 2], []) == (first.told, second.told)
        assert (2, None) == (cursor_of(crm).position, cursor_of(crm).lease)


def test_who_was_taken_for_dead_and_comes_back_moves_nothing_and_stops(
    shared: str, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    with CRM.open(shared, plugins=[listener]) as crm:
        later = crm.ledger.delivery.leases.now() + 10**9
        listener.during = lambda: change(crm, lease=ELSEWHERE, lease_until=later)
        crm.ledger.deliver()
        assert [1] == listener.told
        assert (0, ELSEWHERE, later) == (cursor_of(crm).position, cursor_of(crm).lease, cursor_of(crm).lease_until)
        assert "another worker goes on" in caplog.text


def test_who_fails_after_another_took_over_neither_counts_nor_parks(shared: str) -> None:
    listener = Listener()
    with CRM.open(shared, plugins=[listener]) as crm:

        def overtaken() -> None:
            change(crm, lease=ELSEWHERE, attempts=4, lease_until=crm.ledger.delivery.leases.now() + 10**9)
            raise ValueError("too late")

        change(crm, attempts=4)
        listener.during = overtaken
        crm.ledger.deliver()
        assert (0, 4, None) == (cursor_of(crm).position, cursor_of(crm).attempts, cursor_of(crm).error)
        assert [] == crm.ledger.delivery.parked()


def test_the_lease_of_a_process_that_is_gone_is_free_at_once(shared: str) -> None:
    listener = Listener()
    with CRM.open(shared, plugins=[listener]) as crm:
        change(crm, lease=GONE, lease_until=crm.ledger.delivery.leases.now() + 10**9)
        assert 2 == crm.ledger.deliver().delivered


def test_a_worker_whose_starter_is_gone_takes_nothing_and_stops_after_the_call_under_way(shared: str) -> None:
    listener = Listener()
    starting = [sys.executable, "-c", "from crm_core.ledger.process import this_process as p; print(p()); input()"]
    with (
        Popen(starting, stdin=PIPE, stdout=PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as starter,
        CRM.open(shared, plugins=[listener]) as crm,
    ):
        assert starter.stdout is not None
        crm.ledger.delivery.leases.name = f"{starter.stdout.readline().strip()}#1"

        def gone() -> None:
            starter.kill()
            starter.wait()

        listener.during = gone
        crm.ledger.deliver()
        assert ([1], 1) == (listener.told, cursor_of(crm).position)
        crm.ledger.deliver()
        assert [1] == listener.told


@pytest.mark.parametrize("fast", [-300, 0, 300])
def test_a_clock_that_is_wrong_takes_no_lease_of_another_machine(
    shared: str, fast: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0
    monkeypatch.setattr(leases, "monotonic", lambda: time.monotonic() + passed)
    with CRM.open(shared, plugins=[Listener()]) as crm:
        until = crm.ledger.delivery.leases.now() - fast * 1_000_000
        change(crm, lease=ELSEWHERE, lease_until=until)
        assert 0 == crm.ledger.deliver().delivered, "seen for the first time"
        passed = leases.LEASE_SECONDS - 1
        assert 0 == crm.ledger.deliver().delivered, "not for long enough"
        change(crm, lease_until=until + 1)
        passed += leases.LEASE_SECONDS - 1
        assert 0 == crm.ledger.deliver().delivered, "its holder has renewed it"
        passed += leases.LEASE_SECONDS + 1
        assert 2 == crm.ledger.deliver().delivered, "its holder is gone"


def test_a_lease_of_another_machine_is_over_when_no_clock_can_be_so_wrong(shared: str) -> None:
    with CRM.open(shared, plugins=[Listener()]) as crm:
        change(crm, lease=ELSEWHERE, lease_until=crm.ledger.delivery.leases.now() - 3_600 * 1_000_000)
        assert 2 == crm.ledger.deliver().delivered


def test_a_long_call_keeps_its_lease_for_as_long_as_a_call_may_take(
    shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.4)
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.1)
    for patience, others in ((60.0, 0), (0.05, 2)):
        first, second, found = Listener(), Listener(), list[int]()
        with CRM.open(shared, plugins=[first]) as crm, CRM.open(shared, plugins=[second]) as other:
            change(crm, position=0)
            crm.ledger.delivery.leases.patience = patience

            def late(found: list[int] = found, other: CRM = other) -> None:
                time.sleep(0 if found else 1.2)
                found.append(other.ledger.deliver().delivered)

            first.during = late
            crm.ledger.deliver()
            assert others == found[0]


def test_what_a_worker_left_is_given_back_and_a_call_it_did_not_end_counts(shared: str) -> None:
    with CRM.open(shared, plugins=[Listener()]) as crm:
        delivery = crm.ledger.delivery
        change(crm, lease="w#1", lease_until=delivery.leases.now() + 10**9)
        assert delivery.settle("w#2", Call("Listener", "on_customers_changed", 1), "gone") is None
        assert "w#1" == cursor_of(crm).lease
        failure = delivery.settle("w#1", Call("Listener", "on_customers_changed", 1), "it hung")
        assert failure is not None
        assert (1, 1) == (failure.attempts, failure.again_in)
        assert (0, 1, None) == (cursor_of(crm).position, cursor_of(crm).attempts, cursor_of(crm).lease)
        for attempt in range(2, 6):
            change(crm, lease="w#1")
            failure = delivery.settle("w#1", Call("Listener", "on_customers_changed", 1), "it hung")
            assert failure is not None
            assert attempt == failure.attempts
        assert failure.again_in is None
        assert [(1, True)] == [(one.position, "it hung" in one.error) for one in delivery.parked()]
        assert (1, 0) == (cursor_of(crm).position, cursor_of(crm).attempts)


def parked(crm: CRM) -> None:
    delivery = crm.ledger.delivery
    for _ in range(5):
        change(crm, lease="w#1")
        delivery.settle("w#1", Call("Listener", "on_customers_changed", 1), "it hung")


def test_what_was_given_up_on_is_told_again_on_request(shared: str) -> None:
    listener = Listener()
    with CRM.open(shared, plugins=[listener]) as crm:
        parked(crm)
        delivery = crm.ledger.delivery
        failing = iter([ValueError("still away")])

        def fail() -> None:
            for error in failing:
                raise error

        listener.during = fail
        (failure,) = delivery.retry("Listener").failures
        assert "still away" in failure.error
        (standing,) = standings(crm.storage)
        assert ([1], 1, 1) == ([one.position for one in standing.parked], standing.position, standing.behind)
        assert "still away" in standing.parked[0].error
        assert 1 == delivery.retry("Listener").delivered
        assert [1, 1] == listener.told
        assert [] == delivery.parked()
        with pytest.raises(NotFound):
            delivery.retry("Listener")
        crm.ledger.deliver()
        assert [1, 1, 2] == listener.told


def test_what_was_given_up_on_keeps_its_images_until_it_is_told_or_let_go(shared: str) -> None:
    with CRM.open(shared, plugins=[Listener()]) as crm:
        crm.ledger.deliver()
        change(crm, position=0)
        (ada,) = crm.customers.find('name = "Ada"')
        crm.customers.edit(ada.evolve(city="London"))
        parked(crm)
        crm.ledger.deliver()
        ahead = datetime.now(UTC) + timedelta(days=1)
        assert (0, ("Listener.on_customers_changed",)) == held_up(crm.ledger.compact(ahead))
        crm.ledger.delivery.forget("Listener")
        assert (1, ()) == held_up(crm.ledger.compact(ahead))


def held_up(report: CompactReport) -> tuple[int, tuple[str, ...]]:
    return report.images, report.held_by


def test_what_was_given_up_on_can_be_let_go(shared: str) -> None:
    with CRM.open(shared, plugins=[Listener()]) as crm:
        parked(crm)
        assert 1 == crm.ledger.delivery.forget("Listener")
        assert [] == crm.ledger.delivery.parked()
        with pytest.raises(NotFound):
            crm.ledger.delivery.forget("Listener")


def test_nobody_tells_again_from_within_a_hook(shared: str) -> None:
    listener = Listener()
    with CRM.open(shared, plugins=[listener]) as crm:
        parked(crm)
        errors: list[Exception] = []

        def again() -> None:
            with pytest.raises(UsageError) as error:
                crm.ledger.delivery.retry("Listener")
            errors.append(error.value)

        listener.during = again
        crm.ledger.deliver()
        assert 1 == len(errors)


def test_a_lease_whose_writing_gave_way_to_another_worker_is_written_again(
    shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB ends one of two transactions that begin jobs at the same time."""
    listener = Listener()
    with CRM.open(shared, plugins=[listener]) as crm:
        real, refused = crm.storage.put_many, list[str]()

        def put_many(table: str, *given: Any) -> None:
            if table == "ledger_cursors" and len(refused) < 2:
                refused.append(table)
                raise StorageConflict("two transactions were in each other's way")
            real(table, *given)

        monkeypatch.setattr(crm.storage, "put_many", put_many)
        crm.ledger.deliver()

    assert (2, 2) == (len(refused), len(listener.told))
