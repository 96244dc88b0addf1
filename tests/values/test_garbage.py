from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from crm_core.values import few_collections


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_the_setting_comes_back_when_the_last_block_ends(thresholds: tuple[int, int, int]) -> None:
    first, second = few_collections(), few_collections()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold()[0] > thresholds[0]
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > thresholds[0]
    second.__exit__(None, None, None)
    assert thresholds == gc.get_threshold()


def test_whoever_switched_it_off_has_it_off_inside_too() -> None:
    gc.set_threshold(0)
    with few_collections():
        assert 0 == gc.get_threshold()[0]


def test_what_was_made_inside_starts_no_search_when_the_block_ends():
    class Node:
        pass

    with few_collections():
        made = [Node() for _ in range(2_000)]
        made[0].self = made[0]
    assert gc.get_count()[0] < 700
    assert any(each is made[0] for each in gc.get_objects(generation=2))


def test_a_cycle_made_inside_is_still_found():
    class Node:
        pass

    with few_collections():
        node = Node()
        node.self = node
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_what_the_program_froze_stays_frozen():
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with few_collections():
            pass
        assert gc.get_freeze_count() == pytest.approx(frozen, abs=50)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
