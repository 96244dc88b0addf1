"""What only servers have: connections that break, many who write at once, and passwords."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import attrs
import psycopg
import pytest

from crm_core import CRM, ContactPoint, Customer
from crm_core.errors import (
    ConflictError,
    DuplicateKey,
    InvalidValue,
    NotADatabase,
    StillReferenced,
    StorageConflict,
    StorageError,
    StorageLocked,
    UsageError,
)
from crm_core.extend import Storage, Update
from crm_core.extend.storage import LEDGER_TRANSACTIONS
from crm_core.ledger.evolution import upgrade
from crm_core.ledger.tables import LEDGER_TABLES
from crm_core.query.ast import And, Compare, Contains, In, SortKey
from crm_core.records import KERNEL_RECORDS, Deal, Sale, build_registry
from crm_core.records.schema import AddIndex, Column, Index, Manifest, Table
from crm_core.testing.machine import pages
from crm_core.testing.tables import AWKWARD_TEXTS, MANIFEST, THINGS, thing
from crm_core.values import Money
from crm_storage_sql.dialect import POSTGRESQL
from crm_storage_sql.mariadb.storage import MariadbStorage
from crm_storage_sql.plugin import open_mariadb, open_postgresql
from crm_storage_sql.server import ServerStorage
from crm_storage_sql.where import Clauses
from tests.databases import OPENERS, SERVERS, drop_all, new_url, postgresql_connection

SECRET = "canary-p4ssw0rd"
ON_SERVERS = [pytest.param(name, id=name, marks=pytest.mark.database(name)) for name in SERVERS]


@pytest.fixture(autouse=True, scope="module")
def dropped() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture(params=ON_SERVERS)
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(database: str, tmp_path: Path) -> str:
    return new_url(database, tmp_path)


@pytest.fixture
def storage(database: str, url: str) -> Iterator[ServerStorage[Any]]:
    opened = OPENERS[database](url, {"timeout": 5})
    assert isinstance(opened, ServerStorage)
    upgrade(opened, MANIFEST)
    yield opened
    opened.close()


def fill(storage: Storage, *rows: tuple[int | str | None, ...]) -> None:
    storage.begin()
    storage.insert_many("things", THINGS.column_names, rows)
    storage.commit()


def kill_connection(storage: ServerStorage[Any], *, of: ServerStorage[Any]) -> None:
    """End the connection that this thread has in `of`, as a server does that restarts, by way of `storage`."""
    if "postgresql" in storage.title:
        ((pid,),) = of._read("SELECT pg_backend_pid()")
        storage._read("SELECT pg_terminate_backend(%s)", (pid,))
    else:
        ((pid,),) = of._read("SELECT connection_id()")
        storage._session().change(f"KILL {pid}")
    time.sleep(0.1)


# Where it is


@pytest.mark.parametrize(
    ("url", "title"),
    [
        ("postgresql://crm@db/crm", "postgresql://crm@db/crm"),
        (f"postgres://a%40b:{SECRET}@[::1]:5433/my%20crm?sslmode=require", "postgresql://a@b@[::1]:5433/my crm"),
        (f"postgresql://crm:{SECRET}@/crm?host=/run/pg&schema=team", "postgresql://crm@/crm?schema=team"),
    ],
)
def test_a_url_says_where_a_server_is_and_its_title_hides_the_password(url: str, title: str) -> None:
    from crm_storage_sql.postgresql.session import PARAMETERS
    from crm_storage_sql.server_url import server_of

    server = server_of(url, {}, scheme="postgresql", known=PARAMETERS)
    assert title == server.title
    assert (SECRET if SECRET in url else "") == server.password
    assert SECRET not in repr(server)


@pytest.mark.parametrize(
    ("url", "options", "word"),
    [
        (f"postgresql://crm:{SECRET}@db", {}, "names no database"),
        (f"postgresql://crm:{SECRET}@db:port/crm", {}, "not understood"),
        (f"postgresql://crm:{SECRET}@db/crm?options=-c", {}, "unknown parameter 'options'"),
        (f"postgresql://crm:{SECRET}@db/crm", {"timeout": -1}, "timeout is -1"),
        ("postgresql://crm@db/crm", {"password": SECRET, "isolation": "none"}, "unknown option 'isolation'"),
        ("postgresql://crm@db/crm", {"password": 12}, "password is no text"),
    ],
)
def test_a_url_or_option_that_is_not_understood_is_named_without_the_password(
    url: str, options: dict[str, object], word: str
) -> None:
    for opener in (open_postgresql, open_mariadb):
        with pytest.raises(UsageError) as error:
            opener(url, options)
        assert word in error.value.message
        assert SECRET not in str(error.value) + error.value.hint


@pytest.mark.parametrize("opener", [open_postgresql, open_mariadb])
def test_a_server_that_does_not_answer_is_named_with_what_to_do(
    opener: Callable[..., Storage], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CRM_STORAGE_PASSWORD", SECRET)
    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError, match="cannot be reached") as error:
        opener("x://crm@127.0.0.1:9/crm", {"connect_timeout": 2})
    assert "is it up" in error.value.hint
    assert SECRET not in str(error.value) + error.value.hint + caplog.text


@pytest.mark.parametrize(
    ("opener", "module", "extra"),
    [(open_postgresql, "psycopg", "[postgresql]"), (open_mariadb, "pymysql", "[mariadb]")],
)
def test_a_driver_that_is_not_installed_is_named_with_the_command(
    opener: Callable[..., Storage], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StorageError) as error:
        opener("x://crm@127.0.0.1/crm", {})
    assert f'pip install "crm-storage-sql{extra}"' in error.value.hint


def test_the_password_shows_nowhere(storage: ServerStorage[Any]) -> None:
    server = attrs.evolve(storage.server, password=SECRET)
    session = storage._session()
    session.server = server
    shown = [repr(server), repr(storage.status()), str(session.translated(ValueError("no")))]
    assert not any(SECRET in text for text in shown)


def test_a_database_of_another_program_is_refused_and_left_alone(database: str, url: str) -> None:
    first = OPENERS[database](url, {})
    assert isinstance(first, ServerStorage)
    first._session().change("CREATE TABLE notes (id int)")
    with pytest.raises(NotADatabase, match="notes"):
        OPENERS[database](url, {})
    first.close()


def test_a_database_that_is_missing_is_created(database: str, url: str) -> None:
    if database == "mariadb":  # every test's database is a missing one
        OPENERS[database](url, {}).close()
        return
    base = url.partition("?")[0]
    query = url.partition("?")[2].partition("schema=")[0].rstrip("&")
    name = f"crm_test_made_{os.getpid()}"
    storage = open_postgresql(f"{base.rpartition('/')[0]}/{name}{'?' if query else ''}{query}", {})
    assert None is storage.schema()
    storage.close()
    from tests.databases import postgresql_connection

    with postgresql_connection() as connection:
        connection.autocommit = True
        connection.execute(f'DROP DATABASE "{name}"')


def test_status_tells_engine_size_and_what_matters_for_safety(storage: ServerStorage[Any], database: str) -> None:
    status = storage.status()
    assert status.engine.split()[0] == {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}[database]
    assert status.size is not None
    assert status.size > 0
    wanted = {"postgresql": {"synchronous commit", "fsync"}, "mariadb": {"innodb_flush_log_at_trx_commit"}}[database]
    assert wanted <= status.details.keys()


# Connections


def test_a_connection_that_was_dropped_while_idle_is_made_again(storage: ServerStorage[Any], database: str) -> None:
    other = OPENERS[database](database_url(storage), {})
    assert isinstance(other, ServerStorage)
    fill(storage, thing(1))
    for action in (lambda: storage.find("things"), lambda: fill(storage, thing(2)), lambda: storage.begin(write=False)):
        kill_connection(other, of=storage)
        action()
    storage.rollback()
    assert [1, 2] == [row[0] for row in storage.find("things")]
    other.close()


def test_a_connection_lost_inside_a_transaction_is_an_error_and_nothing_is_kept(
    storage: ServerStorage[Any], database: str
) -> None:
    other = OPENERS[database](database_url(storage), {})
    assert isinstance(other, ServerStorage)
    attempts: list[Callable[[], object]] = [
        lambda: storage.find("things"),
        lambda: storage.insert_many("things", THINGS.column_names, [thing(2)]),
        storage.commit,
    ]
    for attempt in attempts:
        storage.begin()
        storage.insert_many("things", THINGS.column_names, [thing(1)])
        kill_connection(other, of=storage)
        with pytest.raises(StorageError, match="connection was lost"):
            attempt()
        storage.rollback()
        assert [] == storage.find("things")
    fill(storage, thing(1))
    other.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests
def test_a_forked_child_has_a_connection_of_its_own(storage: ServerStorage[Any]) -> None:
    if not hasattr(os, "fork"):
        pytest.skip("NOT RUN: this system has no fork")
    fill(storage, thing(1, size=0))
    storage.begin()
    storage.update_if_version("things", [Update(1, 1, {"size": 1})])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = repr(storage.find("things", columns=["size"]))
            storage.close()
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "[(0,)]" == os.read(reader, 1000).decode()
    os.close(reader)
    os.close(writer)
    storage.commit()
    assert [(1,)] == storage.find("things", columns=["size"])


# Many at once


def test_two_that_are_in_each_others_way_are_told_so_and_one_goes_on(storage: ServerStorage[Any]) -> None:
    fill(storage, thing(1, size=0), thing(2, size=0))
    met = threading.Barrier(2, timeout=30)

    def cross(first: int, second: int) -> str:
        storage.begin()
        try:
            storage.update_if_version("things", [Update(first, 1, {"size": 1})])
            met.wait()
            storage.update_if_version("things", [Update(second, 1, {"size": 1})])
            storage.commit()
        except StorageConflict:
            storage.rollback()
            return "gave way"
        return "done"

    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(cross, *pair) for pair in ((1, 2), (2, 1))]
        assert ["done", "gave way"] == sorted(answer.result() for answer in answers)


def test_what_gave_way_is_done_again_by_the_service(url: str) -> None:
    with CRM.open(url) as crm:
        ada, bob = crm.customers.add(Customer(name="Ada")), crm.customers.add(Customer(name="Bob"))
        met = threading.Barrier(2, timeout=30)
        tries: list[str] = []

        def cross(first: Customer, second: Customer) -> None:
            def both() -> None:
                tries.append(first.name or "")
                with crm.transaction():
                    now = crm.customers.get(first.id)
                    crm.customers.edit(now.evolve(city="Kassel"))
                    if len(tries) <= 2:
                        met.wait()
                    later = crm.customers.get(second.id)
                    crm.customers.edit(later.evolve(region="Hessen"))

            done = False
            while not done:
                try:
                    crm.retried(both)
                    done = True
                except ConflictError:  # the other one has committed since this one looked
                    continue

        with ThreadPoolExecutor(2) as threads:
            for future in [threads.submit(cross, ada, bob), threads.submit(cross, bob, ada)]:
                future.result()
        assert len(tries) >= 3
        assert {("Kassel", "Hessen")} == {(one.city, one.region) for one in crm.customers.find()}


def test_who_waits_too_long_for_a_row_is_told_what_to_do(storage: ServerStorage[Any], database: str) -> None:
    impatient = OPENERS[database](database_url(storage), {"timeout": 1})
    upgrade(impatient, MANIFEST)
    fill(storage, thing(1))
    storage.begin()
    storage.update_if_version("things", [Update(1, 1, {"size": 1})])
    impatient.begin()
    with pytest.raises(StorageLocked) as error:
        impatient.update_if_version("things", [Update(1, 1, {"size": 2})])
    assert "timeout" in error.value.hint
    with pytest.raises(StorageError):
        impatient.commit()
    storage.commit()
    impatient.close()


def test_only_one_process_upgrades_at_a_time(storage: ServerStorage[Any], database: str) -> None:
    impatient = OPENERS[database](database_url(storage), {"timeout": 1})
    with (
        storage.upgrading(),
        storage.upgrading(),  # the holder may take it again
        pytest.raises(StorageLocked, match="upgrading"),
        impatient.upgrading(),
    ):
        pass
    with impatient.upgrading():
        pass
    impatient.close()


_INCREMENT = """
import sys
from crm_core import CRM
from crm_core.errors import ConflictError
with CRM.open(sys.argv[1]) as crm:
    (deal,) = crm.deals.find()
    for _ in range(int(sys.argv[2])):
        while True:
            try:
                deal = crm.deals.edit(deal.evolve(next_step=str(int(deal.next_step) + 1)))
                break
            except ConflictError:
                deal = crm.deals.get(deal.id)
"""


def test_no_update_is_lost_between_processes(url: str) -> None:
    with CRM.open(url) as crm:
        crm.deals.add(Deal(title="Counter", next_step="0"))
        each = 100  # `make torture-long` counts to 2,000
        command = [sys.executable, "-c", _INCREMENT, url, str(each)]
        processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        assert [""] * 4 == [process.communicate()[1] for process in processes]
        (deal,) = crm.deals.find()
        assert (str(4 * each), 4 * each + 1) == (deal.next_step, deal.version)


def test_who_follows_the_ledger_beside_twenty_writers_skips_nothing_and_no_lock_is_seen(url: str) -> None:
    with CRM.open(url) as crm:
        start = crm.ledger.history.head()
        running = threading.Event()
        seen: list[int] = []

        def follow() -> None:
            position = start
            while True:
                done = not running.is_set()
                for entry in crm.ledger.history.following(position, 100):
                    seen.append(entry.position)
                    position = entry.position
                if done and position == crm.ledger.history.head():
                    return

        def write(number: int) -> None:
            for turn in range(10):
                with crm.transaction():
                    crm.customers.add(Customer(name=f"C{number}.{turn}", source="fair"))
                    crm.customers.add(Customer(name=f"D{number}.{turn}"))

        running.set()
        with ThreadPoolExecutor(21) as threads:
            follower = threads.submit(follow)
            for future in [threads.submit(write, number) for number in range(20)]:
                future.result()
            running.clear()
            follower.result()
        assert list(range(start + 1, start + 201)) == seen
        assert 400 == crm.customers.count()


def test_nobody_is_overtaken_time_and_again_while_waiting_for_a_position(
    storage: ServerStorage[Any], database: str
) -> None:
    writers = 12
    tickets = count()

    def waited(number: int) -> list[tuple[int, int]]:
        found = []
        for turn in range(25):
            storage.begin()
            storage.get_many("ledger_head", [1])
            ticket = next(
                tickets
            )  # as it joins the line: what others did while this thread did not run is no overtaking
            found.append((storage.append_ledger(["id", "notes"], (1000 * number + turn, "n")), ticket))
            storage.commit()
        return found

    with ThreadPoolExecutor(writers) as threads:
        by_position = sorted(pair for each in threads.map(waited, range(writers)) for pair in each)
    came = [ticket for _, ticket in by_position]
    overtaken = [sum(earlier > ticket for earlier in came[:place]) for place, ticket in enumerate(came)]
    assert max(overtaken) <= 2 * writers


def test_who_waits_too_long_for_a_position_is_told_what_to_do(storage: ServerStorage[Any], database: str) -> None:
    impatient = OPENERS[database](database_url(storage), {"timeout": 1})
    upgrade(impatient, MANIFEST)
    storage.begin()
    storage.append_ledger(["id", "notes"], (1, "n"))
    impatient.begin()
    with pytest.raises(StorageLocked):
        impatient.append_ledger(["id", "notes"], (2, "n"))
    impatient.rollback()
    storage.commit()
    impatient.close()


# What is stored


def test_references_hold_at_commit_whatever_the_order_of_writes(database: str, url: str) -> None:
    registry = build_registry(zone=ZoneInfo("UTC"), records=[(cls, "crm-core") for cls in KERNEL_RECORDS])
    storage = OPENERS[database](url, {})
    upgrade(storage, registry.manifest(LEDGER_TABLES))
    customers, deals = registry.named("customer"), registry.named("deal")
    deal = deals.encode(Deal(id=2, version=1, title="Licence", customer_id=1))
    at = deals.table.column_names.index("customer_id")
    storage.begin()
    storage.insert_many("deals", deals.table.column_names, [deal])
    storage.insert_many("customers", customers.table.column_names, [customers.encode(Customer(id=1, version=1))])
    storage.commit()
    attempts: list[Callable[[], object]] = [
        lambda: storage.delete("customers", [(1, 1)]),
        lambda: storage.update_if_version("deals", [Update(2, 1, {"customer_id": 99})]),
        lambda: storage.insert_many("deals", deals.table.column_names, [(3, *deal[1:at], 98, *deal[at + 1 :])]),
    ]
    for attempt in attempts:
        storage.begin()
        attempt()
        with pytest.raises(StorageError, match="deals: a record points at"):
            storage.commit()
        assert (1, 1) == (storage.count("customers"), storage.count("deals"))
    storage.begin()
    attempts[0]()
    with pytest.raises(StorageError, match="deals: a record points at"):  # before others have to wait for the head
        storage.append_linked(["id", "operation_id", "at", "notes"], (1, 1, 1, "[]"), lambda *_: "plain:0")
    storage.rollback()
    storage.close()


def test_a_delete_and_a_new_reference_at_the_same_time_leave_nothing_dangling(url: str) -> None:
    with CRM.open(url) as crm:
        for _ in range(5):
            customer = crm.customers.add(Customer(name="Ada"))
            together = threading.Barrier(2, timeout=30)

            def attempt(action: Callable[[], object], together: threading.Barrier = together) -> bool:
                together.wait()
                try:
                    action()
                except (StorageError, ConflictError, InvalidValue, StillReferenced):
                    return False
                return True

            with ThreadPoolExecutor(2) as threads:
                deleted = threads.submit(attempt, lambda one=customer: crm.customers.delete(one.id))
                added = threads.submit(attempt, lambda one=customer: crm.deals.add(Deal(title="x", customer_id=one.id)))
                assert [deleted.result(), added.result()] != [True, True]
            known = {one.id for one in crm.customers.find(limit=None)}
            assert {deal.customer_id for deal in crm.deals.find(limit=None)} <= known


def test_long_texts_may_be_indexed_sorted_and_unique(database: str, url: str) -> None:
    text = Column("text", "text")
    system = THINGS.columns[:4]
    tables = {
        "things": attrs.evolve(THINGS, columns=(*THINGS.columns, text), indexes=(*THINGS.indexes, Index(("text",)))),
        "parts": Table("parts", (*system, text, Column("code", "text")), (Index(("text", "code"), unique=True),)),
    }
    storage = OPENERS[database](url, {})
    upgrade(storage, Manifest(tables, {"crm-core": "1.0"}))
    body = "".join(chr(0x4E00 + (n * 7919) % 20_000) for n in range(9_000))  # packs badly
    texts = [body, f"{body}a", f"{body}b", body[:255], body[:254], "é", None, f"{body[:300]}z"]
    rows = [(*thing(n), found) for n, found in enumerate(texts, 1)]
    storage.begin()
    storage.insert_many("things", tables["things"].column_names, rows)
    storage.insert_many("parts", tables["parts"].column_names, [(n, 1, 1, 1, t, "c") for n, t in enumerate(texts, 1)])
    storage.commit()
    known = sorted(found for found in texts if found is not None)
    for descending in (False, True):
        sort = [SortKey("text", descending)]
        expected = [*sorted(known, reverse=descending), None]
        found = storage.find("things", sort=sort)
        assert expected == [row[-1] for row in found]
        after: list[Any] = []
        paged = []
        while rows := storage.find("things", sort=sort, after=after, limit=3):
            paged += rows
            after = [rows[-1][-1], rows[-1][0]]
        assert found == paged
    assert [(2,)] == storage.find("things", Compare("text", "=", f"{body}a"), columns=["id"])
    assert [(1,), (2,)] == storage.find("things", In("text", (body, f"{body}a", "no")), columns=["id"])
    greater = And((Compare("text", ">", body), Compare("text", "<", f"{body}b")))
    assert [(2,)] == storage.find("things", greater, columns=["id"])
    storage.begin()
    with pytest.raises(DuplicateKey) as error:
        storage.insert_many("parts", tables["parts"].column_names, [(99, 1, 1, 1, f"{body}b", "c")])
    assert ("parts", ("text", "code")) == (error.value.table, error.value.columns)
    storage.rollback()
    storage.close()


@pytest.mark.database("mariadb")
def test_a_page_reads_few_rows_also_by_long_text_backwards_and_among_many_equal_values(tmp_path: Path) -> None:
    with CRM.open(new_url("mariadb", tmp_path)) as crm:
        named = (Customer(name=f"{'long ' * 60 * (n % 50 == 0)}{n:04}", source=f"s{n % 2}") for n in range(1_000))
        crm.customers.add_many(named)
        session = cast(MariadbStorage, crm.storage)._session()
        for sort in ("name", "-name", "source", "-source"):
            whole = [one.id for one in crm.customers.find(sort=sort, limit=None)]
            for place in (5, 700, 985):
                after = crm.customers.find(sort=sort, limit=place).next
                session.change("FLUSH STATUS")
                page = crm.customers.find(sort=sort, after=after, limit=10)
                read = session.read("SHOW SESSION STATUS LIKE 'Handler_read%'")
                assert whole[place : place + 10] == [one.id for one in page]
                assert sum(int(str(count)) for _, count in read) < 200, (sort, place)


def test_what_waits_for_the_commit_is_there_for_who_looks_before_it(url: str) -> None:
    columns, row = ["id", "operation_id", "at", "notes"], (1, 1, 1, "[]")
    with CRM.open(url) as crm:
        storage = crm.storage

        def append(number: int) -> int:
            storage.begin()
            return storage.append_linked(columns, (number, *row[1:]), lambda at, before: f"{at} after {before}")

        def numbers() -> list[Any]:
            return [cells[0] for cells in storage.find(LEDGER_TRANSACTIONS, columns=["id"])]

        append(1)
        storage.rollback()
        assert [] == numbers()
        first = append(1)
        assert [1] == numbers()
        storage.commit()
        second = append(2)
        storage.commit()
        assert [1, 2] == numbers()
        chains = [cells[0] for cells in storage.find(LEDGER_TRANSACTIONS, columns=["chain"])]
        assert [f"{first} after None", f"{second} after {first} after None"] == chains


def test_an_index_that_comes_later_serves_a_list(storage: ServerStorage[Any]) -> None:
    wide = attrs.evolve(THINGS, columns=(*THINGS.columns, Column("remark", "text", max_length=400)))
    upgrade(storage, attrs.evolve(MANIFEST, tables={**MANIFEST.tables, "things": wide}))
    storage.begin()
    storage.insert_many("things", wide.column_names, [(*thing(n), f"r{n % 3}") for n in range(1, 20)])
    storage.commit()
    indexed = attrs.evolve(wide, indexes=(*wide.indexes, Index(("remark",))))
    upgrade(storage, attrs.evolve(MANIFEST, tables={**MANIFEST.tables, "things": indexed}))
    assert AddIndex("things", Index(("remark",))).index in (storage.schema() or MANIFEST).tables["things"].indexes
    sort = [SortKey("remark", descending=True)]
    assert storage.find("things", sort=sort) == sorted(
        storage.find("things"), key=lambda row: (str(row[-1]), -int(str(row[0]))), reverse=True
    )


def test_views_show_iso_times_and_exact_amounts(database: str, url: str) -> None:
    registry = build_registry(zone=ZoneInfo("Asia/Tehran"), records=[(cls, "crm-core") for cls in KERNEL_RECORDS])
    storage = OPENERS[database](url, {})
    assert isinstance(storage, ServerStorage)
    upgrade(storage, registry.manifest())
    sales = registry.named("sale")
    before_1970 = datetime(1969, 12, 31, 23, 59, 59, 250_000, tzinfo=UTC)
    records = [
        Sale(id=1, version=1, sold_at=date(2026, 1, 1), amount=Money("-0.05", "EUR")),
        Sale(id=2, version=1, sold_at=before_1970, amount=Money("1200", "JPY")),
        Sale(id=3, version=1, sold_at=datetime(2026, 3, 1, 12, tzinfo=UTC), amount=Money("12.345", "KWD")),
        Sale(id=4, version=1),
    ]
    storage.begin()
    storage.insert_many("sales", sales.table.column_names, [sales.encode(sale) for sale in records])
    storage.commit()
    rows = storage._read("SELECT sold_at, amount, amount_currency FROM v_sales ORDER BY id")
    assert [
        ("2026-01-01", "-0.05", "EUR"),
        ("1969-12-31T23:59:59.250000Z", "1200", "JPY"),
        ("2026-03-01T12:00:00.000000Z", "12.345", "KWD"),
        (None, None, None),
    ] == rows
    storage.close()


def test_a_number_past_64_bits_and_half_a_character_are_refused(storage: ServerStorage[Any]) -> None:
    for row in (thing(1, size=2**63), thing(1, name="\ud800")):
        for rows in ([row], [row, *(thing(n) for n in range(2, 20))]):
            storage.begin()
            with pytest.raises(StorageError):
                storage.insert_many("things", THINGS.column_names, rows)
            storage.rollback()
    assert [] == storage.find("things")
    assert [] == pages(storage, None, [], 3)


@pytest.mark.parametrize(
    "names",
    [
        ["50% 'off'\\"],
        [None],
        [None, *AWKWARD_TEXTS],
        [f"plain %s {n}" for n in range(2_001)],
        [f"{n} {AWKWARD_TEXTS[n % len(AWKWARD_TEXTS)]}" for n in range(2_001)],
    ],
    ids=["alike", "empty", "few", "plain", "awkward"],
)
def test_many_rows_are_read_as_they_were_written(storage: ServerStorage[Any], names: list[str | None]) -> None:
    rows = [thing(n + 1, name=names[n % len(names)], size=n % 3 or None) for n in range(2_001)]
    fill(storage, *rows)
    assert rows == storage.find("things")


def database_url(storage: ServerStorage[Any]) -> str:
    """Return the URL that a storage was opened by."""
    server = storage.server
    query = "&".join(f"{name}={value}" for name, value in server.parameters.items())
    password = f":{server.password}" if server.password else ""
    port = f":{server.port}" if server.port else ""
    return f"{server.scheme}://{server.user}{password}@{server.host}{port}/{server.database}" + (
        f"?{query}" if query else ""
    )


@pytest.mark.database("postgresql")
def test_many_addresses_that_are_alike_are_not_found_by_their_trigrams(tmp_path: Path) -> None:
    """By the trigrams, which all of them share, a hundred took three seconds among ten thousand."""
    url = new_url("postgresql", tmp_path)
    with CRM.open(url) as crm:
        made = crm.customers.add_many(Customer(name=f"P {number}") for number in range(2_000))
        crm.contact_points.add_many(
            ContactPoint(customer_id=each.id, kind="email", value=f"p{number}@example.org")
            for number, each in enumerate(made)
        )
        wanted = And((Compare("kind", "=", "email"), In("key", tuple(f"p{n}@example.org" for n in range(0, 1000, 10)))))
        assert 100 == crm.contact_points.count(wanted)
        manifest = crm.storage.schema()
        assert manifest is not None
        plans: dict[tuple[str, str], str] = {}
        part = Contains("key", "p777@")
        with postgresql_connection(url) as connection:
            if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm'").fetchall():
                pytest.skip("NOT RUN: this server has no pg_trgm")
            connection.execute("ANALYZE contact_points")
            connection.execute("SET enable_seqscan = off")
            for name, where in (("alike", wanted), ("one", Compare("key", "=", "p7@example.org")), ("part", part)):
                clauses = Clauses(manifest, manifest.tables["contact_points"], POSTGRESQL)
                said = clauses.condition(where)
                marks = [f"${number}" for number in range(1, len(clauses.parameters) + 1)]
                connection.execute(f"PREPARE {name} AS SELECT * FROM contact_points t0 WHERE {said % tuple(marks)}")
                for mode in ("custom", "generic"):  # the latter after a few uses
                    connection.execute(f"SET plan_cache_mode = force_{mode}_plan")
                    cursor = psycopg.ClientCursor(connection)
                    given = ", ".join(["%s"] * len(marks))
                    rows = cursor.execute(f"EXPLAIN EXECUTE {name}({given})", clauses.parameters).fetchall()
                    plans[name, mode] = "trigrams" if "contact_points(key)~" in f"{rows}" else "plain"
    assert {"part"} == {name for (name, _), index in plans.items() if index == "trigrams"}
    assert {"trigrams"} == {index for (name, _), index in plans.items() if name == "part"}


def test_opening_a_crm_asks_a_server_for_little(database: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    CRM.open(url).close()
    asked: list[str] = []
    kind = type(OPENERS[database](url, {}).connected())
    fetch = kind.fetch

    def counted(session: Any, statement: str, parameters: Any) -> Any:
        asked.append(statement)
        return fetch(session, statement, parameters)

    monkeypatch.setattr(kind, "fetch", counted)
    CRM.open(url).close()
    assert 2 == sum("crm_manifest" in one for one in asked)
    assert 5 >= len(asked)


def test_a_database_that_was_made_anew_under_an_open_storage_is_an_empty_one(storage: ServerStorage[Any]) -> None:
    session = storage.connected()
    session.change("DROP TABLE crm_manifest")
    assert None is storage.schema()
    upgrade(storage, MANIFEST)
    assert MANIFEST == storage.schema()
    session.close()
