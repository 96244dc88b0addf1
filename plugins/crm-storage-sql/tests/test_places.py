"""Documents stand in the order of names, whatever comes between them; so a page costs the same wherever it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from crm_core.extend import Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.search import Hit, question_of
from crm_core.testing.searching import PEOPLE, SEARCHED
from crm_storage_sql import lookup, places
from crm_storage_sql.plugin import open_sqlite
from crm_storage_sql.storage import SqliteStorage

pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "crm.db"


@pytest.fixture
def storage(file: Path) -> Iterator[SqliteStorage]:
    opened = open_sqlite(f"sqlite:///{file}", {})
    assert isinstance(opened, SqliteStorage)
    upgrade(opened, SEARCHED)
    yield opened
    opened.close()


def add(storage: SqliteStorage, names: Sequence[str], *, first: int = 1) -> None:
    storage.begin()
    rows = [(id_, 1, 1, 1, name, None, None) for id_, name in enumerate(names, first)]
    storage.insert_many("people", PEOPLE.column_names, rows)
    storage.commit()


def found(storage: SqliteStorage, typed: str, *, after: Hit | None = None, limit: int = 10_000) -> list[Hit]:
    hits = storage.search("people", question_of(typed), after=after, limit=limit)
    while hits is None:
        hits = storage.search("people", question_of(typed), after=after, limit=limit)
    return hits


ORDERS = {
    "ascending": sorted,
    "descending": lambda names: sorted(names, reverse=True),
    "in any order": lambda names: Random(3).sample(names, len(names)),
    "the same name": lambda names: ["person m"] * len(names),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_documents_that_come_between_two_others_move_them_apart(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch, order: Callable[[list[str]], list[str]], at_once: int
) -> None:
    moves: list[int] = []
    widened = places._widened

    def counted(*given: Any) -> Any:
        moves.append(1)
        return widened(*given)

    for name, value in (("STEP", 2**7), ("_NEAR", 2**5), ("_MOVED", 2), ("_ROOM", 4), ("_widened", counted)):
        monkeypatch.setattr(places, name, value)
    add(storage, ["person a", "person z"])
    names = order([f"person k{number:03}" for number in range(200)])
    for start in range(0, len(names), at_once):
        add(storage, names[start : start + at_once], first=start + 3)
    assert found(storage, "person")  # which indexes those that wait
    assert moves
    everybody = sorted([("person a", 1), ("person z", 2), *((name, id_) for id_, name in enumerate(names, 3))])
    assert everybody == [(hit.name, hit.id) for hit in found(storage, "person")]
    stored = storage._session().read("SELECT name, id FROM crm_search_people ORDER BY place")
    assert everybody == stored
    assert [] == storage.check_indexes()


def test_without_room_anywhere_all_move(storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "STEP", 1)
    monkeypatch.setattr(places, "_MOVED", 1)
    add(storage, [f"person {number:03}" for number in range(0, 100, 2)])
    monkeypatch.setattr(places, "STEP", 2**20)
    for number in range(1, 100, 2):
        add(storage, [f"person {number:03}"], first=1_000 + number)
    assert [f"person {number:03}" for number in range(100)] == [hit.name for hit in found(storage, "person")]
    assert [] == storage.check_indexes()


def test_a_name_that_changes_moves_its_document_and_a_text_that_does_not_costs_nothing(storage: SqliteStorage) -> None:
    add(storage, [f"person {number}" for number in range(5)])
    storage.begin()
    storage.update_if_version("people", [Update(1, 1, {"name_key": "person 9"})])
    storage.commit()
    assert ["person 1", "person 2", "person 3", "person 4", "person 9"] == [hit.name for hit in found(storage, "pers")]
    session = storage._session()
    index = storage._keeper.indexes["people"]
    with storage._writing(session):
        before = session.connection.total_changes
        places.renew_documents(session, index, range(1, 6))
        assert before == session.connection.total_changes


def test_documents_out_of_order_are_told(storage: SqliteStorage, file: Path) -> None:
    add(storage, ["ada", "bo", "eve"])
    trigrams = "crm_search_people_trigrams"
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute(
            f"INSERT INTO {trigrams} ({trigrams}, rowid, body) "
            "SELECT 'delete', place, body FROM crm_search_people WHERE id = 1"
        )
        raw.execute("UPDATE crm_search_people SET place = (SELECT max(place) + 1 FROM crm_search_people) WHERE id = 1")
        raw.execute(f"INSERT INTO {trigrams} (rowid, body) SELECT place, body FROM crm_search_people WHERE id = 1")
    assert ["the search index of people has 1 records out of order"] == storage.check_indexes()
    storage.reindex()
    assert [] == storage.check_indexes()


QUESTIONS = {
    "names that begin so": "person",
    "words that begin so": "annabel",
    "inside of words": "nnabe",
    "two short words": "an pe",
    "two words in any order": "anna pers",
    "an e-mail address without its name": "@nnabel",
    "a word that is everywhere and one that is not": "annabel 17",
}


@pytest.mark.parametrize("typed", QUESTIONS.values(), ids=QUESTIONS)
def test_a_page_of_very_many_matches_reads_hardly_more_than_itself(
    storage: SqliteStorage, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.setattr(lookup, "MANY", 20)
    add(storage, [f"person {number:04} annabel @nnabel" for number in Random(5).sample(range(4_000), 4_000)])
    found(storage, typed, limit=1)
    connection = storage._session().connection
    after: Hit | None = None
    for _ in range(12):
        steps = 0

        def step() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(step, 1_000)
        page = found(storage, typed, after=after, limit=10)
        connection.set_progress_handler(None, 0)
        assert steps <= 20, f"{steps},000 steps of SQLite's machine for {len(page)} records"
        if not page:
            break
        after = page[-1]
