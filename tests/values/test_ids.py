"""Ids: unique, ascending whatever the clock does, and readable by people."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.errors import InvalidValue
from crm_core.values import ending_mask, format_id, id_time, new_id, new_ids, parse_id
from crm_core.values.ids import IdSource

ids = st.integers(1, 2**63 - 1)


@given(ids)
def test_an_id_survives_being_written(record_id: int) -> None:
    assert parse_id(format_id(record_id)) == record_id


@given(st.lists(ids))
def test_written_ids_sort_as_ids_do(some: list[int]) -> None:
    assert [format_id(i) for i in sorted(some)] == sorted(format_id(i) for i in some)


@given(ids, st.integers(5, 12))
def test_an_ending_finds_its_id(record_id: int, length: int) -> None:
    value, modulus = ending_mask(format_id(record_id)[-length:])
    assert record_id % modulus == value
    assert modulus == 32**length < 2**63


# Steps of the clock in milliseconds, back and forth, and how many ids are taken after each.
@given(st.lists(st.tuples(st.integers(-5000, 5000), st.integers(0, 3000)), max_size=20), st.integers(-(10**6), 2**40))
def test_ids_ascend_whatever_the_clock_does(steps: list[tuple[int, int]], start: int) -> None:
    now = start
    source = IdSource(lambda: now)
    made: list[int] = []
    for step, count in steps:
        now += step
        made += [*source.take(count), source.take_one()]
    assert made == sorted(set(made))
    assert all(0 < i < 2**63 for i in made)


def test_the_counter_borrows_the_next_millisecond() -> None:
    source = IdSource(lambda: 1000)
    made = source.take(5000)
    assert {i >> 21 for i in made} in ({1000, 1001, 1002}, {1000, 1001, 1002, 1003})
    assert len({i >> 11 & 1023 for i in made}) == 1


def test_the_counter_runs_on_into_the_next_millisecond() -> None:
    now = 1000
    source = IdSource(lambda: now)
    before = source.take_one()
    now = 2000
    assert source.take_one() % 2048 == (before + 1) % 2048


def test_sources_start_at_random() -> None:
    assert len({IdSource(lambda: 1000).take_one() for _ in range(50)}) > 40


def test_no_ids_are_an_empty_list() -> None:
    assert new_ids(0) == []


def test_single_and_many_ids_come_from_one_sequence() -> None:
    made = [new_id(), *new_ids(3000), new_id()]
    assert made == sorted(set(made))


def test_threads_never_share_an_id() -> None:
    made: list[list[int]] = [[] for _ in range(4)]

    def take(mine: list[int]) -> None:
        for _ in range(500):
            mine += [new_id(), *new_ids(7)]

    threads = [threading.Thread(target=take, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [mine == sorted(mine) for mine in made] == [True] * 4
    assert len({i for mine in made for i in mine}) == 4 * 500 * 8


def test_a_forked_process_is_another_node_and_ascends() -> None:
    if not hasattr(os, "fork"):
        pytest.skip("NOT RUN: this system does not fork")
    before = new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(new_id()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    in_child = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert in_child > before
    assert in_child >> 11 & 1023 != new_id() >> 11 & 1023


def test_an_id_tells_when_it_was_made() -> None:
    source = IdSource(lambda: 86_400_000 + 5)
    assert id_time(source.take_one()) == datetime(2020, 1, 2, tzinfo=UTC) + timedelta(milliseconds=5)


def test_an_id_made_now_is_of_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert id_time(IdSource().take_one()) >= before


def test_people_may_mistype_case_hyphens_and_look_alikes() -> None:
    assert {parse_id(text) for text in ("1A0BC-DEF1H-J0K", "1a0bcdef1hj0k", "lAobcdefIhjOk", " ۱a۰bc-def1h-j0k ")} == {
        parse_id("1A0BCDEF1HJ0K")
    }


@pytest.mark.parametrize(
    "text", ["", "-", "1A0BCDEF1HJ0U", "1A0BCDEF1HJ0", "1A0BCDEF1HJ0K9", "1A0BC DEF1HJ0K", "+000000000001"]
)
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"expected 13|not an id"):
        parse_id(text)


@pytest.mark.parametrize("text", ["0000000000000", "8000000000000", "ZZZZZZZZZZZZZ"])
def test_ids_outside_63_bits_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="outside the range"):
        parse_id(text)


@pytest.mark.parametrize("record_id", [0, -1, 2**63])
def test_numbers_that_are_no_ids_are_not_written(record_id: int) -> None:
    with pytest.raises(InvalidValue, match="positive 63-bit"):
        format_id(record_id)
    with pytest.raises(InvalidValue, match="positive 63-bit"):
        id_time(record_id)


@pytest.mark.parametrize("text", ["J0K9", "1A0BCDEF1HJ0K"])
def test_an_ending_has_5_to_12_characters(text: str) -> None:
    with pytest.raises(InvalidValue, match="at least the last 5"):
        ending_mask(text)
