"""The part of the storage kit about searching: whatever is written, a search finds what a model in plain Python finds.

It goes by the kernel's way to ask, which reads the rows where a storage has no `search` or cannot answer at the moment.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crm_core.extend.storage import Storage, Update
from crm_core.ledger.evolution import upgrade
from crm_core.query.search import Hit, Searched, question_of, rank_of, searched_in
from crm_core.records.schema import Column, Index, Manifest, Row, SearchedColumn, Table
from crm_core.services.search import places_of
from crm_core.testing.tables import MANIFEST
from crm_core.values import text_key

_SYSTEM: Final = tuple(Column(name, "int", nullable=False) for name in ("id", "version", "created_tx", "updated_tx"))
PEOPLE: Final = Table(
    "people",
    (*_SYSTEM, Column("name_key", "text"), Column("size", "int"), Column("nick_key", "text")),
    (Index(("name_key",)), Index(("nick_key",))),
    searched=(SearchedColumn("name_key"), SearchedColumn("nick_key")),
)
ADDRESSES: Final = Table(
    "addresses",
    (*_SYSTEM, Column("person_id", "int", references="people"), Column("key", "text")),
    (Index(("person_id",)), Index(("key",))),
    searched=(SearchedColumn("key", "person_id"),),
)
SEARCHED: Final = Manifest({**MANIFEST.tables, "people": PEOPLE, "addresses": ADDRESSES}, MANIFEST.owners)
_SOUGHT: Final[Searched] = searched_in(SEARCHED.tables)["people"]

_LATIN: Final = ("ada", "adam", "madam", "a", "lovelace", "lov", "o'neil", "é", "ß", "and", "not", "near")
_OTHERS: Final = ("علی", "علیرضا", "رضا", "արամ", "мария", "王", "王伟", "😀", "%", "_", 'quo"te', "\\", "100%", "*")
_ADDRESSES: Final = ("ada@example.org", "lov@ex.am", "@", "a@b", "+491701234567", "01701234567", "0170", "123")
_WORDS: Final = (*_LATIN, *_OTHERS, *_ADDRESSES)
_texts = st.lists(st.sampled_from(_WORDS), max_size=3).map(lambda words: text_key(" ".join(words)) or None)
_typed = st.one_of(
    st.lists(
        st.sampled_from([*_WORDS, "ad", "dam", "vela", "ALI", "ي", "ex", "17", "+49 170 1234567"]),
        min_size=1,
        max_size=3,
    ).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
)
_ids = st.integers(1, 5)
_writes = st.lists(
    st.one_of(
        st.tuples(st.just("person"), _ids, _texts, _texts),
        st.tuples(st.just("address"), _ids, _ids, _texts),
        st.tuples(st.just("leave"), _ids),
        st.tuples(st.just("forget"), _ids),
    ),
    max_size=8,
)


class SearchContract:
    """What every storage promises about searching, declared (`search`) or not."""

    @abstractmethod
    def open(self, path: Path) -> Storage:
        """Open the storage that lives in or under `path`: an empty one at first, later the same again."""

    @pytest.fixture
    def searched(self, tmp_path: Path) -> Iterator[Storage]:
        """Yield an open storage with tables that are searched, and no rows."""
        opened = self.open(tmp_path)
        upgrade(opened, SEARCHED)
        yield opened
        opened.close()

    def test_a_search_that_is_not_declared_is_none(self, searched: Storage) -> None:
        if "search" in searched.capabilities:
            assert [] == searched.search("people", question_of("ada"), limit=5)
            return
        with pytest.raises(NotImplementedError):
            searched.search("people", question_of("ada"), limit=5)

    def test_every_word_must_be_in_some_text_and_the_best_come_first(self, searched: Storage) -> None:
        names = ["madam ada", "nada", "ada lovelace", "ada", "zoe", "bo adam", None]
        _write(searched, lambda: _insert(searched, [_person(n, name) for n, name in enumerate(names, 1)]))
        _write(searched, lambda: _insert_addresses(searched, [(1, 5, "ada"), (2, 7, "adam@example.org")]))
        assert [4, 5, 3, 7, 6, 1, 2] == _ids_found(searched, "ada")
        assert [6] == _ids_found(searched, "bo ada")
        assert [7] == _ids_found(searched, "example.org")
        assert [3] == _ids_found(searched, "ovela")
        assert [6] == _ids_found(searched, "b")
        assert [] == _ids_found(searched, "ada%")

    def test_records_without_a_name_come_before_all_others_of_a_rank(self, searched: Storage) -> None:
        names = ["zoe", None, "", "bo", None, "", "ada"]
        rows = [_person(n, name, "nick ada") for n, name in enumerate(names, 1)]
        _write(searched, lambda: _insert(searched, rows))
        whole = _by_model("ick", {row[0]: row for row in rows}, {})
        assert [2, 3, 5, 6, 7, 4, 1] == _ids_found(searched, "ick") == [hit.id for hit in whole]
        for at, place in enumerate(whole, 1):
            assert whole[at : at + 2] == _asked(searched, "ick", after=place, limit=2)

    def test_names_go_on_with_any_character_behind_what_they_begin_with(self, searched: Storage) -> None:
        names = ["a\U0010ffffz", "a\U0010ffff", "b", "\ud7ffx", "\U0010ffff a"]
        rows = [_person(n, name) for n, name in enumerate(names, 1)]
        _write(searched, lambda: _insert(searched, rows))
        for typed in ("a", "a\U0010ffff", "\ud7ff", "\U0010ffff"):
            whole = _by_model(typed, {row[0]: row for row in rows}, {})
            assert whole == _asked(searched, typed)
            assert whole[:1] == _asked(searched, typed, limit=1)
            assert whole[1:] == _asked(searched, typed, after=whole[0])

    def test_a_search_follows_every_write(self, searched: Storage) -> None:
        _write(searched, lambda: _insert(searched, [_person(1, "ada"), _person(2, "bo")]))
        _write(searched, lambda: _insert_addresses(searched, [(1, 1, "ada@example.org")]))
        _write(searched, lambda: searched.update_if_version("addresses", [Update(1, 1, {"person_id": 2})]))
        assert [2] == _ids_found(searched, "example")
        _write(searched, lambda: searched.update_if_version("addresses", [Update(1, 2, {"key": "bo@home.test"})]))
        assert [] == _ids_found(searched, "example")
        assert [2] == _ids_found(searched, "home")
        _write(searched, lambda: searched.update_if_version("people", [Update(1, 1, {"name_key": "eve"})]))
        assert ([], [1]) == (_ids_found(searched, "ada"), _ids_found(searched, "eve"))
        _write(searched, lambda: searched.update_if_version("people", [Update(1, 2, {"size": 3})]))
        assert [1] == _ids_found(searched, "eve")
        _write(searched, lambda: searched.delete("addresses", [(1, 3)]))
        assert [] == _ids_found(searched, "home")
        _write(searched, lambda: searched.delete("people", [(1, 3)]))
        assert [] == _ids_found(searched, "eve")
        assert [2] == _ids_found(searched, "bo")

    def test_a_transaction_finds_what_it_wrote_and_a_rollback_leaves_nothing(self, searched: Storage) -> None:
        searched.begin()
        _insert(searched, [_person(1, "ada")])
        assert [1] == _ids_found(searched, "ada")
        _insert(searched, [_person(2, "ada two")])
        assert [1, 2] == _ids_found(searched, "ada")
        searched.rollback()
        assert [] == _ids_found(searched, "ada")
        _write(searched, lambda: _insert(searched, [_person(1, "bo")]))
        assert [] == _ids_found(searched, "ada")
        searched.begin(write=False)
        assert [1] == _ids_found(searched, "bo")
        searched.rollback()

    def test_many_at_once_are_found_and_pages_together_are_the_whole(self, searched: Storage) -> None:
        count = 1_200
        rows = [_person(n, f"person {n % 7} number {n}") for n in range(1, count + 1)]
        _write(searched, lambda: _insert(searched, rows))
        assert list(range(1, count + 1)) == sorted(_ids_found(searched, "person"))
        for typed, limit in (("erson", 500), ("number 1", 37), ("7", 10)):
            whole, found, after = _asked(searched, typed), [], None
            while page := _asked(searched, typed, after=after, limit=limit):
                found += page
                after = page[-1]
            assert whole == found == sorted(set(found))
            assert whole == _by_model(typed, {row[0]: row for row in rows}, {})
        _write(searched, lambda: searched.delete("people", [(n, 1) for n in range(1, count)]))
        assert [count] == _ids_found(searched, "person")

    def test_a_search_finds_the_same_by_indexes_made_anew(self, searched: Storage) -> None:
        _write(searched, lambda: _insert(searched, [_person(n, f"person {n}") for n in range(1, 61)]))
        _write(searched, lambda: _insert_addresses(searched, [(1, 5, "ada@example.org")]))
        searched.reindex()
        assert searched.check_indexes() in ([], None)
        assert ([5], [50]) == (_ids_found(searched, "ada"), _ids_found(searched, "person 50"))
        _write(searched, lambda: searched.delete("addresses", [(1, 1)]))
        _write(searched, lambda: searched.update_if_version("people", [Update(50, 1, {"name_key": "eve"})]))
        assert ([], [], [50]) == tuple(_ids_found(searched, text) for text in ("ada", "person 50", "eve"))
        assert searched.check_indexes() in ([], None)

    def test_texts_of_an_older_database_are_found_after_its_upgrade(self, tmp_path: Path) -> None:
        storage = self.open(tmp_path)
        plain = {table.name: attrs.evolve(table, searched=()) for table in (PEOPLE, ADDRESSES)}
        upgrade(storage, attrs.evolve(SEARCHED, tables={**MANIFEST.tables, **plain}))
        _write(storage, lambda: _insert(storage, [_person(1, "ada")]))
        _write(storage, lambda: _insert_addresses(storage, [(1, 1, "lov@example.org")]))
        assert upgrade(storage, SEARCHED).needed
        assert not upgrade(storage, SEARCHED).needed
        assert SEARCHED == storage.schema()
        assert [1] == _ids_found(storage, "ada example")
        storage.close()

    def test_any_writes_are_found_as_a_model_finds_them(self, searched: Storage) -> None:
        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(writes=_writes, typed=st.lists(_typed, min_size=1, max_size=4), limit=st.integers(1, 4))
        @example(
            writes=[("person", 1, "علی رضا", None), ("address", 1, 1, "01701234567")],
            typed=["+49 170 1234567"],
            limit=1,
        )
        def holds(writes: list[tuple[Any, ...]], typed: list[str], limit: int) -> None:
            state = _State(searched)
            _write(searched, state.empty)
            # Who is pointed at and leaves in one transaction is more than some storages allow.
            for leaving in (False, True):
                _write(searched, partial(state.write_all, [one for one in writes if (one[0] == "leave") is leaving]))
            for text in filter(lambda text: text_key(text.replace("\0", "")), typed):
                expected = _by_model(text, state.people, state.addresses)
                assert expected == _asked(searched, text)
                assert expected[:limit] == _asked(searched, text, limit=limit)
                for place in expected:
                    assert expected[expected.index(place) + 1 :] == _asked(searched, text, after=place)

        holds()


class _State:
    """What is written, in dicts beside the storage."""

    def __init__(self, storage: Storage) -> None:
        self.people: dict[Any, Row] = {}
        self.addresses: dict[Any, Row] = {}
        self._storage = storage

    def empty(self) -> None:
        """Take away all that an earlier run has left."""
        for table in ("addresses", "people"):
            self._storage.delete(table, [(int(str(row[0])), int(str(row[1]))) for row in self._storage.find(table)])

    def write_all(self, writes: Sequence[tuple[Any, ...]]) -> None:
        """Write one after the other."""
        for one in writes:
            self.write(*one)

    def write(self, what: str, id_: int, *cells: Any) -> None:
        """Add or change a person or an address; forget an address; let a person leave, with all addresses."""
        if what == "person":
            self._put("people", self.people, _person(id_, *cells), ("name_key", "nick_key"))
        elif what == "address" and cells[0] in self.people:
            self._put("addresses", self.addresses, (id_, 1, 1, 1, *cells), ("person_id", "key"))
        elif what == "forget" and id_ in self.addresses:
            self._take("addresses", self.addresses, id_)
        elif what == "leave" and id_ in self.people:
            for one in [row[0] for row in self.addresses.values() if row[4] == id_]:
                self._take("addresses", self.addresses, one)
            self._take("people", self.people, id_)

    def _take(self, table: str, rows: dict[Any, Row], id_: Any) -> None:
        assert [] == self._storage.delete(table, [(id_, int(str(rows.pop(id_)[1])))])

    def _put(self, table: str, rows: dict[Any, Row], row: Row, columns: Sequence[str]) -> None:
        names = SEARCHED.tables[table].column_names
        old = rows.get(row[0])
        if old is None:
            self._storage.insert_many(table, names, [row])
            rows[row[0]] = row
            return
        changes = {name: row[names.index(name)] for name in columns}
        assert [] == self._storage.update_if_version(table, [Update(int(str(old[0])), int(str(old[1])), changes)])
        rows[row[0]] = (old[0], int(str(old[1])) + 1, *row[2:])


def _by_model(typed: str, people: dict[Any, Row], addresses: dict[Any, Row]) -> list[Hit]:
    question, found = question_of(typed), []
    for id_, person in people.items():
        texts = [person[4], person[6], *(row[5] for row in addresses.values() if row[4] == id_)]
        rank = rank_of(question, str(person[4] or ""), [str(text) for text in texts if text is not None])
        if rank is not None:
            found.append(Hit(rank, str(person[4] or ""), id_))
    return sorted(found)


def _asked(storage: Storage, typed: str, after: Hit | None = None, limit: int = 10_000) -> list[Hit]:
    return places_of(storage, _SOUGHT, question_of(typed), after=after, limit=limit)


def _ids_found(storage: Storage, typed: str) -> list[int]:
    return [hit.id for hit in _asked(storage, typed)]


def _person(id_: int, name: str | None, nick: str | None = None) -> Row:
    return (id_, 1, 1, 1, name, None, nick)


def _insert(storage: Storage, rows: Sequence[Row]) -> None:
    storage.insert_many("people", PEOPLE.column_names, rows)


def _insert_addresses(storage: Storage, addresses: Sequence[tuple[int, int, str]]) -> None:
    rows: list[Row] = [(id_, 1, 1, 1, person, key) for id_, person, key in addresses]
    storage.insert_many("addresses", ADDRESSES.column_names, rows)


def _write(storage: Storage, action: Callable[[], object]) -> None:
    storage.begin()
    try:
        action()
        storage.commit()
    except BaseException:
        storage.rollback()
        raise
