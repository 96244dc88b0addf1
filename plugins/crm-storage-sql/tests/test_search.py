"""The trigram index of SQLite: few matches and many, records that wait for it, builds without FTS5, what it forgets."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import attrs
import pytest

from crm_core.errors import StorageError, StorageFull
from crm_core.extend import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.search import question_of
from crm_core.records.schema import Row
from crm_core.testing.searching import ADDRESSES, PEOPLE, SEARCHED, SearchContract
from crm_storage_sql import keeping, lookup, mending
from crm_storage_sql import storage as module
from crm_storage_sql.mending import index_faults
from crm_storage_sql.plugin import open_sqlite
from crm_storage_sql.storage import SqliteStorage

pytestmark = pytest.mark.database("sqlite")


class OnSqlite(SearchContract):
    def open(self, path: Path) -> Storage:
        return open_sqlite(f"sqlite:///{path}/crm.db", {})


class TestAFewMatchesAreMany(OnSqlite):
    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookup, "MANY", 1)


class TestEveryRecordWaits(OnSqlite):
    @pytest.fixture(autouse=True)
    def _waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in (("_AT_ONCE", 0), ("_CHUNK", 3), ("_ROWS", 2)):
            monkeypatch.setattr(keeping, name, value)


class TestNoRecordIsEverIndexed(OnSqlite):
    @pytest.fixture(autouse=True)
    def _never(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeping, "_AT_ONCE", 0)
        monkeypatch.setattr(module, "_A_MOMENT", 0)

    def test_a_search_that_is_not_declared_is_none(self, searched: Storage) -> None:
        add(searched, person(1, "ada"))
        assert None is searched.search("people", question_of("ada"), limit=5)


class TestWithoutFts5(OnSqlite):
    @pytest.fixture(autouse=True)
    def _missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeping, "has_fts5", lambda connection: False)

    def test_a_search_that_is_not_declared_is_none(self, searched: Storage) -> None:
        assert None is searched.search("people", question_of("ada"), limit=5)
        assert "FTS5 is missing" in searched.status().details["search"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


@pytest.fixture
def storage(file: Path) -> Iterator[SqliteStorage]:
    opened = opened_at(file)
    upgrade(opened, SEARCHED)
    yield opened
    opened.close()


def opened_at(file: Path) -> SqliteStorage:
    made = open_sqlite(f"sqlite:///{file}", {})
    assert isinstance(made, SqliteStorage)
    return made


def person(id_: int, name: str) -> Row:
    return (id_, 1, 1, 1, name, None, None)


def add(storage: Storage, *rows: Row) -> None:
    storage.begin()
    storage.insert_many("people", PEOPLE.column_names, rows)
    storage.commit()


def written(storage: Storage, write: Callable[[], object]) -> None:
    storage.begin()
    write()
    storage.commit()


def told_of(write: Callable[[], object]) -> str:
    """Return what a write is refused with; empty when it is done."""
    try:
        write()
    except StorageError as error:
        return f"{error.message} {error.hint}"
    return ""


def many(storage: Storage) -> None:
    """Add so many that their index has several pages, and index all of them."""
    add(storage, *(person(n, f"person {n:04} {chr(97 + n % 26) * 3}") for n in range(1, 1_501)))
    assert [29] == found(storage, "person 0029")


def found(storage: Storage, typed: str) -> list[int] | None:
    """Return the ids that the index finds; None when it cannot tell."""
    hits = storage.search("people", question_of(typed), limit=1_000)
    return None if hits is None else [hit.id for hit in hits]


def test_the_status_counts_who_waits_until_searches_have_indexed_all(storage: SqliteStorage) -> None:
    assert "trigram index" == storage.status().details["search"]
    add(storage, *(person(n, f"person {n}") for n in range(1, 1001)))
    assert "trigram index (1,000 records are not indexed yet)" == storage.status().details["search"]
    assert [999] == found(storage, "erson 999")
    assert "trigram index" == storage.status().details["search"]


def test_a_record_noted_with_its_parts_gets_its_document_once(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_CHUNK", 150)
    add(storage, *(person(n, f"person {n}") for n in range(1, 101)))
    storage.begin()
    addresses: list[Row] = [(n, 1, 1, 1, n, f"p{n}@example.org") for n in range(1, 101)]
    storage.insert_many("addresses", ADDRESSES.column_names, addresses)
    storage.commit()
    session = storage._session()
    assert 200 == storage._keeper.behind_by(session)
    with storage._writing(session):
        storage._keeper.catch_up(session)
    assert 0 == storage._keeper.behind_by(session)
    assert [7] == found(storage, "p7@")


def test_nobody_waits_for_a_writer_to_search(storage: SqliteStorage, file: Path) -> None:
    add(storage, *(person(n, f"person {n}") for n in range(1, 101)))
    entered, leave = Event(), Event()

    def hold() -> None:
        with closing(opened_at(file)) as other:
            other.begin()
            entered.set()
            leave.wait(30)
            other.rollback()

    thread = Thread(target=hold)
    thread.start()
    entered.wait(30)
    try:
        assert None is found(storage, "person 7")
    finally:
        leave.set()
        thread.join()
    assert [7, *range(70, 80)] == found(storage, "person 7")


def test_a_snapshot_searches_what_it_sees_and_indexes_nothing(storage: SqliteStorage, file: Path) -> None:
    add(storage, person(1, "ada"))
    storage.begin(write=False)
    with closing(opened_at(file)) as other:
        add(other, person(2, "ada"))
    assert [1] == found(storage, "ada")
    storage.rollback()
    assert [1, 2] == found(storage, "ada")


def test_what_was_written_while_the_build_had_no_fts5_waits(
    storage: SqliteStorage, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(storage, person(1, "ada"))
    with monkeypatch.context() as patch:
        patch.setattr(keeping, "has_fts5", lambda connection: False)
        with closing(opened_at(file)) as without:
            upgrade(without, SEARCHED)
            without.begin()
            without.update_if_version("people", [Update(1, 1, {"name_key": "eve"})])
            without.commit()
            assert None is found(without, "eve")
    assert ([1], []) == (found(storage, "eve"), found(storage, "ada"))


def test_a_storage_open_during_an_upgrade_keeps_the_new_index_true(storage: SqliteStorage, file: Path) -> None:
    add(storage, person(1, "ada"))
    less = attrs.evolve(PEOPLE, searched=PEOPLE.searched[:1])
    with closing(opened_at(file)) as other:
        upgrade(other, attrs.evolve(SEARCHED, tables={**SEARCHED.tables, "people": less}))
        add(storage, person(2, "adam"))
        assert [1, 2] == found(storage, "ada") == found(other, "ada")
        assert [] == other.check_indexes()


def test_of_what_was_deleted_no_trigram_is_left_after_a_scrub(storage: SqliteStorage, file: Path) -> None:
    add(storage, person(1, "ada"), person(2, "quixote"))
    storage.begin()
    storage.delete("people", [(2, 1)])
    storage.commit()
    assert b"uix" in index_of(storage)
    assert "" == storage.scrub()
    assert b"ada" in index_of(storage)
    assert b"uix" not in index_of(storage)
    assert b"quixote" not in file.read_bytes()


def test_a_scrub_also_forgets_whom_a_bulk_write_left_waiting(storage: SqliteStorage) -> None:
    rows = [person(n, f"quixote {n}") for n in range(1, 101)]
    add(storage, *rows)
    assert 100 == len(found(storage, "quixote") or ())
    storage.begin()
    storage.delete("people", [(n, 1) for n in range(1, 101)])
    storage.commit()
    assert b"uix" in index_of(storage)
    assert "" == storage.scrub()
    assert b"uix" not in index_of(storage)


def index_of(storage: SqliteStorage) -> bytes:
    """Return what the segments of the index are made of, terms of deleted documents too."""
    blocks = storage._session().read("SELECT block FROM crm_search_people_trigrams_data")
    return b" ".join(bytes(block) for (block,) in blocks)  # type: ignore[arg-type]


def test_verify_names_an_index_that_is_wrong(storage: SqliteStorage, file: Path) -> None:
    add(storage, person(1, "ada"), person(2, "bo"))
    assert [] == storage.check_indexes()
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("UPDATE people SET name_key = 'eve' WHERE id = 1")
    assert ["the search index of people is wrong about 1 records"] == storage.check_indexes()
    add(storage, *(person(n, f"person {n}") for n in range(3, 100)))
    assert 97 == storage._keeper.behind_by(storage._session())
    assert ["the search index of people is wrong about 1 records"] == storage.check_indexes()


_TRIGRAMS = "crm_search_people_trigrams"
DAMAGE = {
    "pages of the index lost": f"DELETE FROM {_TRIGRAMS}_data WHERE id > 10",
    "pages of the index emptied": f"UPDATE {_TRIGRAMS}_data SET block = zeroblob(length(block)) WHERE id > 10",
    "its structure": f"UPDATE {_TRIGRAMS}_data SET block = x'00' WHERE id = 10",
    "its structure, an older one": f"UPDATE {_TRIGRAMS}_data SET block = zeroblob(8) WHERE id = 10",
    "all pages emptied": f"UPDATE {_TRIGRAMS}_data SET block = zeroblob(length(block))",
    "its counts": f"UPDATE {_TRIGRAMS}_data SET block = x'ff' WHERE id = 1",
    "what leads to its pages lost": f"DELETE FROM {_TRIGRAMS}_idx",
    "nothing that leads to its pages": f"DROP TABLE {_TRIGRAMS}_idx",
    "no settings": f"DROP TABLE {_TRIGRAMS}_config",
    "its version": f"DELETE FROM {_TRIGRAMS}_config",
    "nothing in it": f"INSERT INTO {_TRIGRAMS} ({_TRIGRAMS}) VALUES ('delete-all')",
    "a document missing in it": (
        f"INSERT INTO {_TRIGRAMS} ({_TRIGRAMS}, rowid, body) "
        "SELECT 'delete', place, body FROM crm_search_people LIMIT 1"
    ),
    "a document too many in it": f"INSERT INTO {_TRIGRAMS} (rowid, body) VALUES (9999, 'nobody')",
    "no index": f"DROP TABLE {_TRIGRAMS}",
    "half an index": f"DROP TABLE {_TRIGRAMS}_data",
    "a document lost": "DELETE FROM crm_search_people WHERE id = 2",
    "a document of another": "UPDATE crm_search_people SET body = 'x' WHERE id = 2",
    "no documents": "DROP TABLE crm_search_people",
    "no table of who waits": "DROP TABLE crm_search_waiting",
    "no definition": "DELETE FROM crm_search",
    "a definition that cannot be read": "UPDATE crm_search SET searched = '{}'",
    "a definition of another layout": "UPDATE crm_search SET searched = json_remove(searched, '$.layout')",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_told_and_made_anew_from_the_records(
    storage: SqliteStorage, file: Path, damage: str
) -> None:
    many(storage)
    rows = storage.find("people")
    storage.close()
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(damage)
    with closing(opened_at(file)) as again:
        for _ in range(2):  # looking changes nothing
            (fault, *_) = again.check_indexes()
            assert "the search index of people " in fault
        assert [] == again.check()  # the rest of the file is sound
        assert ["the search index of people", "the indexes of 6 tables"] == again.reindex()
        assert ([], []) == (again.check(), again.check_indexes())
        assert rows == again.find("people")
        assert [29] == found(again, "person 0029")
        add(again, person(2_000, "adam"))
        assert ([2_000], []) == (found(again, "adam"), again.check_indexes())


def test_an_index_is_looked_at_within_a_snapshot_while_others_write(storage: SqliteStorage, file: Path) -> None:
    add(storage, person(1, "ada"))
    storage.begin(write=False)
    with closing(opened_at(file)) as other:
        add(other, person(2, "adam"))
        other.begin()
        assert [] == storage.check_indexes()
        other.rollback()
    storage.rollback()
    assert [1, 2] == found(storage, "ada")


@pytest.mark.parametrize("damage", [None, DAMAGE["a document missing in it"]])
def test_an_index_of_a_file_that_may_only_be_read_is_looked_at(
    storage: SqliteStorage, file: Path, damage: str | None
) -> None:
    add(storage, person(1, "ada"), person(2, "bo"))
    storage.close()
    if damage:
        with closing(sqlite3.connect(file)) as raw, raw:
            raw.execute(damage)
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)) as reader:
        assert bool(damage) is bool(index_faults(reader, SEARCHED))


def test_what_keeps_an_index_from_being_looked_at_is_not_taken_for_damage(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    add(storage, person(1, "ada"))
    monkeypatch.setattr(mending, "_holds_its_documents", full)
    with pytest.raises(StorageFull):
        storage.check_indexes()


def test_who_searches_by_a_damaged_index_is_told_how_to_make_it_anew(storage: SqliteStorage, file: Path) -> None:
    add(storage, *(person(n, f"person {n}") for n in range(1, 31)))
    assert [29] == found(storage, "person 29")
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(f"DELETE FROM {_TRIGRAMS}_data WHERE id > 10")
    with closing(opened_at(file)) as again:
        with pytest.raises(StorageError) as error:
            found(again, "person 2")
        assert "crm storage reindex" in (error.value.hint or "")
        assert "away" not in (error.value.hint or "")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_who_writes_beside_a_damaged_index_is_told_how_to_make_it_anew(
    storage: SqliteStorage, file: Path, damage: str
) -> None:
    many(storage)
    storage.close()
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(damage)
    writes: tuple[Callable[[], object], ...] = (
        lambda: add(again, person(2_000, "adam")),
        lambda: written(again, lambda: again.update_if_version("people", [Update(5, 1, {"name_key": "eve"})])),
        lambda: written(again, lambda: again.delete("people", [(6, 1)])),
    )
    with closing(opened_at(file)) as again:
        before = again.find("people")
        for one in writes:
            told = told_of(one)
            if told:
                again.rollback()
                assert "the search index is damaged" in told
                assert "crm storage reindex" in told
                assert before == again.find("people")
            before = again.find("people")
        again.reindex()
        add(again, person(3_000, "bob"))
        assert ([3_000], []) == (found(again, "bob"), again.check_indexes())


def test_indexes_are_not_made_anew_inside_a_transaction(storage: SqliteStorage) -> None:
    storage.begin()
    with pytest.raises(StorageError):
        storage.reindex()
    storage.rollback()


def test_a_restored_backup_is_searched_by_its_own_index(storage: SqliteStorage, tmp_path: Path) -> None:
    add(storage, person(1, "ada"))
    storage.backup(tmp_path / "copy")
    add(storage, person(2, "bo"))
    storage.restore(tmp_path / "copy")
    assert ([1], []) == (found(storage, "ada"), found(storage, "bo"))
    add(storage, person(3, "bo"))
    assert [3] == found(storage, "bo")
    assert [] == storage.check_indexes()


def test_a_copy_has_an_index_of_its_own(storage: SqliteStorage, tmp_path: Path) -> None:
    add(storage, person(1, "ada"))
    with closing(storage.copied(tmp_path)) as copy:
        add(copy, person(2, "ada"))
        assert [1, 2] == found(copy, "ada")
    assert [1] == found(storage, "ada")
