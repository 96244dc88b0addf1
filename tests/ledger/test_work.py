"""Transactions and operations: whole or not at all, one in the log, and honest about what broke off."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Deal, Money
from crm_core.errors import ConflictError, InvalidValue, NotFound, UsageError
from tests.opening import content


def labels(crm: CRM) -> list[tuple[str, str]]:
    return [(one.label, one.state) for one in crm.ledger.operations()]


def test_a_lone_write_is_an_operation_of_its_own(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    crm.customers.edit(ada.evolve(city="London"))
    assert [("edit customer", "done"), ("add customer", "done")] == labels(crm)


def test_a_transaction_is_stored_whole_or_not_at_all(crm: CRM) -> None:
    before = content(crm)

    def broken_off() -> None:
        with crm.transaction():
            crm.customers.add(Customer(name="Ada"), email="ada@example.org")
            crm.deals.move(crm.deals.add(Deal(title="D")), "won")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken_off()
    assert (before, []) == (content(crm), labels(crm))


def test_what_is_written_inside_a_transaction_is_seen_inside_it(crm: CRM) -> None:
    with crm.transaction():
        ada = crm.customers.add(Customer(name="Ada"))
        assert ada == crm.customers.get(ada.id)
        crm.customers.edit(ada.evolve(city="London"))
        many = crm.customers.add_many(Customer(name=f"C{n}") for n in range(3))
    assert 4 == crm.customers.count()
    assert [("edit", "done")] == labels(crm)
    assert 1 == len({record.created_tx for record in [ada, *many]})


def test_an_error_passed_over_inside_a_transaction_keeps_half_a_write_from_being_stored(crm: CRM) -> None:

    def careless() -> None:
        with crm.transaction():
            crm.customers.add(Customer(name="Bob"))
            with pytest.raises(InvalidValue):
                crm.customers.add(Customer(name="Ada"), phone="no number")

    with pytest.raises(UsageError, match="failed halfway"):
        careless()
    assert 0 == crm.customers.count()


def test_an_error_before_anything_was_written_may_be_passed_over(crm: CRM) -> None:
    with crm.transaction():
        crm.customers.add(Customer(name="Bob"))
        with pytest.raises(InvalidValue):
            crm.customers.add(Customer(name="Ada", owner_id=5))
    assert 1 == crm.customers.count()


def test_an_operation_groups_its_transactions_and_one_inside_is_part_of_it(crm: CRM) -> None:
    with crm.operation("tidy up", detail={"why": "spring"}) as outer:
        ada = crm.customers.add(Customer(name="Ada"))
        with crm.operation("inner") as inner:
            crm.customers.edit(ada.evolve(city="London"))
        crm.customers.add_many(Customer(name=f"C{n}") for n in range(3))
    assert outer is inner
    assert [("tidy up", "done")] == labels(crm)
    assert {"why": "spring"} == crm.ledger.get(outer.id).detail
    assert 3 == len(crm.ledger.history.transactions(outer.id))


def test_an_operation_of_another_kind_cannot_hide_in_one(crm: CRM) -> None:
    told = r"'load' \(kind import\) cannot be a part of"
    with crm.operation("tidy up"), pytest.raises(UsageError, match=told), crm.operation("load", kind="import"):
        pass


def test_an_empty_operation_leaves_nothing(crm: CRM) -> None:
    with crm.operation("nothing"), crm.transaction():
        crm.customers.find()
    assert [] == labels(crm)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_operation_that_breaks_off_keeps_its_chunks_and_says_so(crm: CRM, error: type[BaseException]) -> None:

    def broken_off() -> None:
        with crm.operation("import", kind="import"):
            crm.customers.add(Customer(name="Ada"))
            with crm.transaction():
                crm.customers.add(Customer(name="Bob"))
                raise error

    with pytest.raises(error):
        broken_off()
    assert [("import", "incomplete")] == labels(crm)
    assert ["Ada"] == [one.name for one in crm.customers.find()]
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert 0 == crm.customers.count()


def test_a_recorded_operation_is_seen_before_it_wrote_anything(crm: CRM) -> None:

    def broken_off() -> None:
        with crm.operation("import", kind="import", recorded=True):
            assert [("import", "open")] == labels(crm)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert [("import", "incomplete")] == labels(crm)
    entry = crm.ledger.operations()[0]
    with crm.ledger.resumed(entry):
        crm.customers.add(Customer(name="Ada"))
    assert [("import", "done")] == labels(crm)


def test_positions_are_dense_and_in_the_order_of_commits(crm: CRM) -> None:
    crm.customers.add_many(Customer(name=f"C{n}") for n in range(2_500))
    crm.customers.add(Customer(name="Ada"))
    assert [1, 2, 3, 4] == [entry.position for entry in crm.ledger.history.following(0, 10)]
    assert 4 == crm.ledger.history.head()


def test_a_stale_write_is_a_conflict_on_every_path(crm: CRM) -> None:
    old = crm.customers.add(Customer(name="Ada", tags=("a",)))
    crm.customers.edit(old.evolve(city="London"))
    deal = crm.deals.add(Deal(title="D", amount=Money("1", "EUR")))
    crm.deals.edit(deal.evolve(next_step="call"))
    for write in (
        lambda: crm.customers.edit(old.evolve(name="Eve")),
        lambda: crm.customers.edit(old.evolve(tags=("b",))),
        lambda: crm.customers.edit(old),
        lambda: crm.customers.edit_many([old.evolve(name="Eve")]),
        lambda: crm.customers.delete(old),
        lambda: crm.deals.edit(deal.evolve(title="E")),
        lambda: crm.deals.edit_many([deal.evolve(title="E")]),
        lambda: crm.deals.move(deal, "won"),
        lambda: crm.deals.delete(deal),
    ):
        with pytest.raises(ConflictError, match="changed since it was read"):
            write()
    assert ("Ada", ("a",), 2) == (lambda one: (one.name, one.tags, one.version))(crm.customers.get(old.id))
    with pytest.raises(NotFound):
        crm.customers.get(12345)


def test_tags_alone_raise_the_version(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"))
    tagged = crm.customers.edit(ada.evolve(tags=("vip",)))
    assert (2, tagged) == (tagged.version, crm.customers.get(ada.id))


def test_threads_do_not_share_transactions(crm: CRM) -> None:
    errors: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(10):
                with crm.operation(f"{name} {number}"), crm.transaction():
                    crm.customers.add(Customer(name=name))
                    crm.customers.add(Customer(name=name))
        except BaseException as error:  # handed to the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"T{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == errors
    assert (80, 40) == (crm.customers.count(), len(crm.ledger.operations(limit=100)))


BULK = """
import os, sys
from crm_core import CRM, Customer
from crm_core.services import records
records.CHUNK = 50
with CRM.open(sys.argv[1]) as crm:
    kill_at, storage = int(sys.argv[2]), crm.storage
    done = 0
    def counted(call):
        def run(*given, **named):
            global done
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), 9)
            return call(*given, **named)
        return run
    for name in ("begin", "insert_many", "put_many", "append_ledger", "commit"):
        setattr(storage, name, counted(getattr(storage, name)))
    crm.customers.add_many(Customer(name=f"C{n}", tags=("t",)) for n in range(150))
    print(done)
"""


@pytest.mark.database("sqlite")
@pytest.mark.skipif(os.name == "nt", reason="NOT RUN: there is no kill -9 on Windows")
def test_killed_at_any_step_of_a_bulk_write_the_data_is_before_or_after_each_chunk(tmp_path: Path) -> None:
    def bulk(url: str, kill_at: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", BULK, url, str(kill_at)], capture_output=True, text=True)

    steps = int(bulk(f"sqlite:///{tmp_path}/whole.db", 10**6).stdout)
    assert steps > 15
    for kill_at in range(1, steps + 1):
        url = f"sqlite:///{tmp_path}/killed{kill_at}.db"
        assert -9 == bulk(url, kill_at).returncode
        with CRM.open(url) as crm:
            stored = crm.customers.count()
            assert (0, stored) == (stored % 50, crm.records("customer_tag").count())
            chunks = [sum(note[3] for note in t.notes) for t in crm.ledger.history.following(0, 10)]
            assert [100] * (stored // 50) == chunks
            operations = labels(crm)
            assert operations == ([] if not stored else [("add customers", "incomplete")])
            if stored:
                crm.ledger.undo(crm.ledger.resolve("last"))
                assert 0 == crm.customers.count()
