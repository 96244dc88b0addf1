from __future__ import annotations

import gc
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
