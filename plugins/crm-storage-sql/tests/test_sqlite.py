from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest

from crm_core.errors import (
    NewerDatabase,
    NotADatabase,
    StorageError,
    StorageFull,
    StorageLocked,
    UsageError,
)
from crm_core.extend import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import And, Compare, SortKey
from crm_core.records import KERNEL_RECORDS, Customer, Deal, Registry, Sale, build_registry
from crm_core.testing.tables import MANIFEST, THINGS, thing
from crm_core.values import Money
from crm_storage_sql.backup import read_copy
from crm_storage_sql.plugin import open_sqlite, plugin
from crm_storage_sql.storage import SqliteStorage
from crm_storage_sql.url import Place, place_of
from crm_storage_sql.where import Clauses

pytestmark = pytest.mark.database("sqlite")
NEVER_THERE = "/nowhere/at/all"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


@pytest.fixture
def storage(path: Path) -> Iterator[SqliteStorage]:
    opened = SqliteStorage(Place(path, 5))
    upgrade(opened, MANIFEST)
    yield opened
    opened.close()


@pytest.fixture
def registry() -> Registry:
    return build_registry(zone=ZoneInfo("Asia/Tehran"), records=[(cls, "crm-core") for cls in KERNEL_RECORDS])


def fill(storage: Storage, *rows: tuple[int | str | None, ...]) -> None:
    storage.begin()
    storage.insert_many("things", THINGS.column_names, rows)
    storage.commit()


def in_a_forked_child(action: Callable[[], str], *, meanwhile: Callable[[], str]) -> tuple[str, str]:
    """Return what an action gives in a forked child, and another one in this process at the same time."""
    if not hasattr(os, "fork"):
        pytest.skip("NOT RUN: this system has no fork")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = action()
        except BaseException as error:
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    own = meanwhile()
    os.waitpid(child, 0)
    answer = os.read(reader, 10_000).decode()
    os.close(reader)
    os.close(writer)
    return answer, own


def plan(storage: SqliteStorage, sql: str, *parameters: object) -> str:
    rows = storage._read("EXPLAIN QUERY PLAN " + sql, parameters)
    return "\n".join(str(row[-1]) for row in rows)


# Where it is


def test_a_url_names_a_file_relative_to_the_workspace_or_absolute() -> None:
    directory = str(Path("/srv/team").absolute())
    assert Place(Path("/srv/team/crm.db").absolute()) == place_of("sqlite:///crm.db", {"directory": directory})
    assert Place(Path("/data/a b.db").absolute(), 2.5) == place_of("sqlite:////data/a b.db", {"timeout": 2.5})
    assert Place(Path("crm.db").absolute()) == place_of("sqlite:///crm.db", {})


@pytest.mark.parametrize(
    ("url", "options", "word"),
    [
        ("sqlite://", {}, "memory:"),
        ("sqlite:///", {}, "sqlite:///crm.db"),
        ("sqlite:crm.db", {}, "sqlite:///crm.db"),
        ("sqlite:///crm.db?timeout=3", {}, "[storage]"),
        ("sqlite:///crm.db", {"synchronous": "off"}, "timeout"),
        ("sqlite:///crm.db", {"timeout": "long"}, "timeout = 30"),
        ("sqlite:///crm.db", {"timeout": -1}, "timeout = 30"),
    ],
)
def test_a_url_or_option_that_is_not_understood_says_what_to_write(
    url: str, options: dict[str, object], word: str
) -> None:
    with pytest.raises(UsageError) as error:
        place_of(url, options)
    assert word in error.value.hint


def test_the_plugin_is_found_by_its_entry_point_and_manifest() -> None:
    (entry,) = entry_points(group="crm_core.plugins", name="storage-sql")
    assert plugin is entry.load()
    manifest = tomllib.loads(files("crm_storage_sql").joinpath("crm-plugin.toml").read_text())
    assert {"hook_api": 1, "hooks": ["register_storages"]} == manifest
    found = [(scheme.name, scheme.schemes, scheme.embedded) for scheme in plugin.register_storages()]
    assert [
        ("sqlite", ("sqlite",), True),
        ("postgresql", ("postgresql", "postgres"), False),
        ("mariadb", ("mariadb", "mysql"), False),
    ] == found


def test_records_and_lists_load_no_sqlalchemy(tmp_path: Path) -> None:
    code = """
import sys
import tempfile
from crm_storage_sql.plugin import open_sqlite
from crm_core.ledger.evolution import upgrade
from crm_core.query.ast import Compare
from crm_core.records import KERNEL_RECORDS, build_registry
from zoneinfo import ZoneInfo
storage = open_sqlite(sys.argv[1], {})
upgrade(storage, build_registry(zone=ZoneInfo("UTC"), records=[(c, "crm-core") for c in KERNEL_RECORDS]).manifest())
storage.find("deals", Compare("status", "=", "won"))
storage.close()
print("sqlalchemy" in sys.modules)
"""
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/crm.db"]
    assert "False" == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# Safety


def test_commits_are_synced_and_references_checked(storage: SqliteStorage) -> None:
    connection = storage._session().connection
    assert 2 == connection.execute("PRAGMA synchronous").fetchone()[0]
    assert "wal" == connection.execute("PRAGMA journal_mode").fetchone()[0]
    assert 1 == connection.execute("PRAGMA foreign_keys").fetchone()[0]
    details = storage.status().details
    assert ("wal", "full", "on") == (details["journal"], details["synchronous"], details["foreign keys"])


def test_every_thread_has_a_connection_as_safe_and_closing_closes_them_all(storage: SqliteStorage) -> None:
    seen: list[sqlite3.Connection] = []
    levels: list[int] = []
    checked, close = threading.Event(), threading.Event()

    def look() -> None:
        seen.append(storage._session().connection)
        levels.append(seen[0].execute("PRAGMA synchronous").fetchone()[0])
        checked.set()
        close.wait()

    thread = threading.Thread(target=look)
    thread.start()
    checked.wait()
    storage.close()
    close.set()
    thread.join()
    assert [2] == levels
    with pytest.raises(sqlite3.ProgrammingError):
        seen[0].execute("SELECT 1")
    with pytest.raises(StorageError):
        storage.find("things")


def test_a_reference_to_nothing_is_refused_at_commit_and_named(path: Path, registry: Registry) -> None:
    storage = SqliteStorage(Place(path))
    upgrade(storage, registry.manifest())
    customers, deals = registry.named("customer"), registry.named("deal")
    storage.begin()
    deal = deals.encode(Deal(id=2, version=1, title="Licence", customer_id=1))
    storage.insert_many("deals", deals.table.column_names, [deal])
    storage.insert_many("customers", customers.table.column_names, [customers.encode(Customer(id=1, version=1))])
    storage.commit()
    storage.begin()
    storage.delete("customers", [(1, 1)])
    with pytest.raises(StorageError) as error:
        storage.commit()
    assert "deals 0000000000002 points at a record of customers that does not exist" in str(error.value)
    assert 1 == storage.count("customers")
    storage.close()


def test_a_transaction_can_follow_one_that_broke(storage: SqliteStorage) -> None:
    storage.begin()
    with pytest.raises(StorageError):
        storage.insert_many("things", THINGS.column_names, [thing(1, size=2**63)])
    storage.rollback()
    fill(storage, thing(1))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests
def test_a_forked_child_uses_connections_and_a_place_in_line_of_its_own(storage: SqliteStorage) -> None:
    fill(storage, thing(1, size=0))

    def increment() -> str:
        for _ in range(50):
            storage.begin()
            (row,) = storage.get_many("things", [1])
            size, version = row[THINGS.column_names.index("size")], row[1]
            assert isinstance(size, int)
            assert isinstance(version, int)
            storage.update_if_version("things", [Update(1, version, {"size": size + 1})])
            storage.commit()
        return "done"

    answers = in_a_forked_child(increment, meanwhile=increment)
    assert ("done", "done") == answers
    assert [thing(1, version=101, size=100)] == storage.find("things")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads of other tests
def test_a_child_forked_inside_a_transaction_is_refused_the_database(storage: SqliteStorage) -> None:
    storage.begin()
    storage.insert_many("things", THINGS.column_names, [thing(1)])
    answer, _ = in_a_forked_child(lambda: str(storage.count("things")), meanwhile=lambda: "")
    assert "forked while its parent was using the database" in answer
    storage.commit()
    assert [thing(1)] == storage.find("things")


# Bad files


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"name,country\nAda,UK\n" * 100)
    with pytest.raises(NotADatabase) as error:
        SqliteStorage(Place(path))
    assert str(path) in str(error.value)
    assert path.read_bytes() == b"name,country\nAda,UK\n" * 100


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE notes (text TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(NotADatabase, match="another program"):
        SqliteStorage(Place(path))
    assert before == path.read_bytes()


def test_a_file_of_a_newer_plugin_is_refused(storage: SqliteStorage, path: Path) -> None:
    storage._session().connection.execute("PRAGMA user_version=99")
    with pytest.raises(NewerDatabase, match="file version 99"):
        SqliteStorage(Place(path))


@pytest.mark.parametrize(("name", "word"), [("nowhere/crm.db", "does not exist"), ("", "is a folder")])
def test_a_place_that_cannot_be_opened_is_named(tmp_path: Path, name: str, word: str) -> None:
    with pytest.raises(StorageError, match=word):
        SqliteStorage(Place(tmp_path / name))


def test_a_damaged_file_is_named(storage: SqliteStorage, path: Path) -> None:
    fill(storage, *[thing(n, name="x" * 500) for n in range(1, 2000)])
    storage.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 8192))
    with pytest.raises((StorageError, NotADatabase), match=r"damaged|not an SQLite database"):
        SqliteStorage(Place(path)).find("things")


def test_a_full_disk_rolls_back_and_says_so(storage: SqliteStorage) -> None:
    fill(storage, thing(1))
    connection = storage._session().connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages + 5}")
    storage.begin()
    with pytest.raises(StorageFull, match="no room left"):
        storage.insert_many("things", THINGS.column_names, [thing(n, name="x" * 3000) for n in range(2, 100)])
    storage.rollback()
    assert [thing(1)] == storage.find("things")
    connection.execute("PRAGMA max_page_count=1000000")
    fill(storage, *[thing(n, name="x" * 3000) for n in range(2, 100)])


@pytest.mark.skipif(sys.platform == "win32", reason="NOT RUN: Windows limits no sizes of files")
def test_a_limit_on_the_size_of_files_is_told_with_what_to_do(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from crm_core import CRM, Customer\n"
        "from crm_core.errors import StorageFull\n"
        "with CRM.open(sys.argv[1]) as crm:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "    try:\n"
        "        crm.customers.add_many(Customer(name=f'{n} ' + 'آ' * 200) for n in range(20_000))\n"
        "    except StorageFull as error:\n"
        "        print(error.message, error.hint, sep='\\n')\n"
    )
    command = [sys.executable, "-X", "utf8", "-c", script, f"sqlite:///{tmp_path / 'crm.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    message, hint = done.stdout.splitlines()
    assert "the file may not grow" in message
    assert "ulimit -f" in hint
    assert "quota" in hint


def test_a_writer_that_waits_too_long_is_told_who_holds_the_database(storage: SqliteStorage, path: Path) -> None:
    impatient = SqliteStorage(Place(path, 0.05))
    storage.begin()
    with pytest.raises(StorageLocked) as error:
        impatient.begin()
    assert str(path) in str(error.value)
    assert f"process {os.getpid()}" in str(error.value) or "this process" in str(error.value)
    assert "timeout" in error.value.hint
    assert [] == impatient.find("things")
    storage.rollback()
    impatient.begin()
    impatient.rollback()
    impatient.close()


HOLDS = """
import fcntl, sys
held = open(sys.argv[1], "r+")
fcntl.flock(held, fcntl.LOCK_EX)
held.write("4711 ")
held.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="NOT RUN: the script that holds the lock needs flock")
def test_who_waits_says_so_after_two_seconds_and_for_whom(tmp_path: Path) -> None:
    shop = str(tmp_path / "shop")
    subprocess.run([sys.executable, "-m", "crm_core", "init", shop], capture_output=True, check=True)
    holds = [sys.executable, "-c", HOLDS, f"{shop}/crm.db-lock"]
    adds = [sys.executable, "-m", "crm_core", "-w", shop, "customers", "add", "Ada", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(holds, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert "held\n" == holder.stdout.readline()
        with subprocess.Popen(adds, stdout=pipe, stderr=pipe, text=True) as command:
            assert command.stderr is not None
            said = command.stderr.readline()
            holder.communicate("")
            out, more = command.communicate()
    assert "crm.db: waiting for another writer (process 4711), at most 30 seconds" in json.loads(said)["warning"]
    assert ("Ada", "") == (json.loads(out)["name"], more)


def test_another_program_that_holds_the_file_is_named_while_it_is_waited_for(
    storage: SqliteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[object, ...]] = []
    monkeypatch.setattr("crm_storage_sql.sqlite.PATIENCE", 0.1)
    monkeypatch.setattr("crm_storage_sql.sqlite.say_waiting", lambda *told: said.append(told))
    waiting = SqliteStorage(Place(path, 20))
    browser = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    browser.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.6, lambda: browser.execute("ROLLBACK"))
    release.start()
    waiting.begin()
    waiting.rollback()
    release.join()
    browser.close()
    waiting.close()
    assert [(path, "another program that has the file open (a database browser?)", 20)] == said


def test_another_programs_lock_is_named(storage: SqliteStorage, path: Path) -> None:
    impatient = SqliteStorage(Place(path, 0.05))
    browser = sqlite3.connect(path, isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageLocked, match="another program"):
        impatient.begin()
    browser.execute("ROLLBACK")
    impatient.begin()
    impatient.rollback()
    browser.close()
    impatient.close()


# Reading


def test_views_show_iso_times_and_exact_amounts(path: Path, registry: Registry) -> None:
    storage = SqliteStorage(Place(path))
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
    rows = storage._read("SELECT sold_at, amount, amount_currency FROM v_sales ORDER BY id", ())
    assert [
        ("2026-01-01", "-0.05", "EUR"),
        ("1969-12-31T23:59:59.250000Z", "1200", "JPY"),
        ("2026-03-01T12:00:00.000000Z", "12.345", "KWD"),
        (None, None, None),
    ] == rows
    storage.close()


def test_deep_pages_and_references_use_indexes(storage: SqliteStorage) -> None:
    clauses = Clauses(MANIFEST, THINGS)
    sort = [SortKey("size", descending=True)]
    condition = clauses.after_known(sort, [5, 9])
    sql = f"SELECT * FROM things t0 WHERE {condition} ORDER BY {clauses.order(sort)} LIMIT 10"
    assert "USING INDEX things(size) (size<?)" in plan(storage, sql, *clauses.parameters)
    clauses = Clauses(MANIFEST, THINGS)
    where = clauses.condition(And((Compare("group", "=", "g"), Compare("size", ">", 3))))
    assert "things(group,size) (group=? AND size>?)" in plan(
        storage, f"SELECT * FROM things t0 WHERE {where}", *clauses.parameters
    )


def test_scrubbing_leaves_nothing_of_what_was_deleted_in_the_files(storage: SqliteStorage, path: Path) -> None:
    fill(storage, *(thing(n, name=f"secret{n}" * 50) for n in range(1, 200)), thing(500, name="open"))
    with closing(sqlite3.connect(path)) as careless:
        careless.execute("PRAGMA secure_delete=OFF")
        careless.execute("DELETE FROM things WHERE id < 500")
        careless.commit()
        careless.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def holding() -> list[str]:
        return [one.name for one in path.parent.iterdir() if b"secret" in one.read_bytes()]

    assert [path.name] == holding(), "a deleted row stays in the file"
    assert "" == storage.scrub()
    assert [] == holding()
    assert [thing(500, name="open")] == storage.find("things")


def test_scrubbing_says_when_somebody_still_reads_the_log(storage: SqliteStorage, path: Path) -> None:
    fill(storage, thing(1, name="secret"))
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM things").fetchone()
        assert "write-ahead log" in storage.scrub()
    assert "" == storage.scrub()


def test_a_bulk_insert_binds_only_the_columns_in_which_some_row_has_a_value(storage: SqliteStorage) -> None:
    sparse = [thing(number, code=f"c{number}") for number in range(1, 200)]
    sized = [thing(number, size=number if number == 250 else None) for number in range(200, 400)]
    statements: list[str] = []
    storage.begin()
    storage._session().connection.set_trace_callback(statements.append)
    storage.insert_many("things", THINGS.column_names, sparse)
    storage.insert_many("things", THINGS.column_names, sized)
    storage.commit()
    inserts = list(dict.fromkeys(text.partition(" VALUES ")[0] for text in statements if text.startswith("INSERT")))
    assert [
        'INSERT INTO "things" ("id", "version", "created_tx", "updated_tx", "code")',
        'INSERT INTO "things" ("id", "version", "created_tx", "updated_tx", "size")',
    ] == inserts
    assert [*sparse, *sized] == storage.find("things")


def test_rows_of_a_wrong_width_are_refused_however_many_there_are(storage: SqliteStorage) -> None:
    storage.begin()
    with pytest.raises(StorageError):
        storage.insert_many("things", THINGS.column_names, [(*thing(number), "more") for number in range(1, 200)])
    storage.rollback()
    assert [] == storage.find("things")


def test_statistics_are_gathered_after_a_bulk_load(storage: SqliteStorage) -> None:
    import sqlalchemy as sa

    from crm_core.query.tables import Tables

    fill(storage, *[thing(n, size=n) for n in range(1, 10_001)])
    things = Tables(MANIFEST.tables).things
    assert [(10_000,)] == storage.execute(sa.select(sa.func.count()).select_from(things))
    assert storage._read("SELECT count(*) FROM sqlite_stat1", ())[0][0]


def test_a_purged_reference_column_goes_though_it_is_a_foreign_key(path: Path, registry: Registry) -> None:
    from crm_core.records.schema import Drop

    storage = SqliteStorage(Place(path))
    manifest = registry.manifest()
    upgrade(storage, manifest)
    deals = registry.named("deal")
    storage.begin()
    storage.insert_many("deals", deals.table.column_names, [deals.encode(Deal(id=2, version=1, title="Licence"))])
    storage.commit()
    kept = attrs.evolve(
        deals.table,
        columns=tuple(column for column in deals.table.columns if column.name != "owner_id"),
        indexes=tuple(index for index in deals.table.indexes if "owner_id" not in index.columns),
    )
    narrow = attrs.evolve(manifest, tables={**manifest.tables, "deals": kept})
    storage.apply([Drop("deals", "owner_id")], narrow)
    assert [("Licence",)] == storage.find("deals", columns=["title"])
    storage.begin()
    storage.insert_many("stage_changes", ("id", "version", "created_tx", "updated_tx", "deal_id"), [(3, 1, 1, 1, 2)])
    storage.commit()
    storage.close()


def test_opening_twice_creates_one_database(tmp_path: Path) -> None:
    stores = [open_sqlite("sqlite:///crm.db", {"directory": str(tmp_path)}) for _ in range(2)]
    for store in stores:
        upgrade(store, MANIFEST)
    fill(stores[0], thing(1))
    assert [thing(1)] == stores[1].find("things")
    for store in stores:
        store.close()


READS_ONLY = """
import os, sys
from crm_core.errors import StorageError
from crm_core.ledger.evolution import upgrade
from crm_core.testing.tables import MANIFEST, THINGS, thing
from crm_storage_sql.plugin import open_sqlite

def opened():
    return open_sqlite("sqlite:///" + sys.argv[1] + "/crm.db", {})

def become(user):
    if os.getuid() == 0:
        os.seteuid(user)
    else:
        os.chmod(sys.argv[1], 0o755 if user == 0 else 0o555)

def add(storage, id_):
    storage.begin()
    storage.insert_many("things", THINGS.column_names, [thing(id_, name=str(id_))])
    storage.commit()

def names(storage):
    return [name for (name,) in storage.find("things", columns=["name"])]

writer = opened()
upgrade(writer, MANIFEST)
add(writer, 1)
writer.close()
os.chmod(sys.argv[1] + "/crm.db", 0o444 if os.getuid() else 0o644)
become(65534)
reader = opened()
print(names(reader), reader.status().details["journal"], reader.check())
try:
    add(reader, 9)
except StorageError as error:
    print(error.hint)
become(0)
os.chmod(sys.argv[1] + "/crm.db", 0o644)
writer = opened()
add(writer, 2)
become(65534)
print(names(reader), reader.status().details["journal"])
become(0)
writer.close()
become(65534)
print(names(reader), names(opened()))
"""


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="NOT RUN: no permissions of this kind on this system")
def test_a_file_that_may_only_be_read_is_read_and_what_others_write_to_it_is_seen() -> None:
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is closed to others
        Path(folder).chmod(0o755)
        script = [sys.executable, "-c", READS_ONLY, folder]
        run = subprocess.run(script, capture_output=True, text=True, check=True)
        Path(folder).chmod(0o755)
    assert [
        "['1'] none: read only []",
        "writing needs the right to write in the folder of the database",
        "['1', '2'] wal",
        "['1', '2'] ['1', '2']",
    ] == run.stdout.splitlines()


def test_what_stands_only_in_the_log_of_a_copy_is_restored_too(storage: SqliteStorage, tmp_path: Path) -> None:
    """A full disk may keep what a copy's log holds from coming into the copy when it is closed."""
    made = tmp_path / "made.db"
    copy = SqliteStorage(Place(made, 1.0))
    upgrade(copy, MANIFEST)
    copy.begin()
    copy.insert_many("things", THINGS.column_names, [thing(7, name="in the log")])
    copy.commit()
    left = tmp_path / "left.db"
    for end in ("", "-wal"):
        shutil.copy(f"{made}{end}", f"{left}{end}")
    copy.close()
    storage.restore(left)
    assert [thing(7, name="in the log")] == storage.get_many("things", [7])


class NoRoomInTheFile(sqlite3.Connection):
    """A connection to a file that cannot grow, while its log can."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if "wal_checkpoint" in sql:
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *parameters)


def test_a_restore_that_was_committed_does_not_fail_for_the_room_in_the_file(
    storage: SqliteStorage, path: Path, tmp_path: Path
) -> None:
    fill(storage, thing(7, name="restored"))
    storage.backup(tmp_path / "copy.db")
    fill(storage, thing(8, name="later"))
    with closing(sqlite3.connect(path, factory=NoRoomInTheFile)) as connection:
        read_copy(tmp_path / "copy.db", connection)
    assert [thing(7, name="restored")] == storage.find("things")
