from __future__ import annotations

from time import perf_counter, sleep

from crm_transfer.pace import Pace


def test_a_slow_chunk_makes_the_next_one_smaller_at_once_and_a_quick_one_makes_it_grow() -> None:
    pace = Pace()
    pace.adapt(1_000, 1_000, 0.06)
    assert 500 == pace.size
    pace.adapt(500, 500, 0.01)
    assert 1_000 == pace.size


def test_a_few_hundred_records_always_go_together_however_many_kinds_a_row_may_make() -> None:
    pace = Pace()
    pace.of_file(4)
    assert 250 == pace.size
    pace.adapt(250, 260, 9.0)
    assert 250 <= pace.size <= 300, "lines of orders: hardly more than one record a row"
    pace.adapt(250, 1_000, 9.0)
    assert 75 == pace.size


def test_a_chunk_that_wrote_nothing_lets_the_next_one_grow() -> None:
    pace = Pace()
    pace.adapt(1_000, 0, 0.0)
    assert 2_000 == pace.size


def test_time_in_which_others_have_the_processor_counts_half() -> None:
    seconds = Pace().watch()
    sleep(0.1)
    assert 0.05 <= seconds() < 0.1


def test_while_others_write_too_chunks_hold_the_lock_a_third_as_long() -> None:
    pace = Pace()
    pace.came(0.01)
    pace.adapt(1_000, 1_000, 0.03)
    assert 333 == pace.size
    pace.adapt(333, 333, 9.0)
    assert 150 == pace.size
    pace.came(0.00001)
    pace.adapt(150, 150, 0.0045)
    assert 575 == pace.size


def test_while_others_write_too_they_have_the_lock_to_themselves_between_two_chunks() -> None:
    pace, start = Pace(), perf_counter()
    pace.rest()
    assert perf_counter() - start < 0.01
    pace.came(0.01)
    pace.rest()
    assert perf_counter() - start >= 0.02
