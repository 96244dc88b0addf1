"""Text on a terminal: cells are counted, right-to-left text stays in its place, data cannot steer the terminal."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.console import cell, clean, clip, isolate, moment, pad, plural, size, width

PERSIAN = "شرکت نرم‌افزاری آفتاب"


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("Ada", 3),
        ("Երևան", 5),
        ("日本", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("می\u200cخواهم", 7),
        ("\u2068Ada\u2069", 3),
    ],
)
def test_width_counts_the_cells_of_a_terminal(text: str, cells: int) -> None:
    assert cells == width(text)


@given(st.text(), st.integers(1, 40))
def test_a_clipped_text_fits_and_a_short_one_is_whole(text: str, cells: int) -> None:
    clipped = clip(text, cells)
    assert width(clipped) <= cells
    assert width(text) > cells or clipped == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"])), st.integers(0, 60))
def test_padding_fills_to_the_width(text: str, cells: int) -> None:
    assert max(width(text), cells) == width(pad(text, cells)) == width(pad(text, cells, right=True))


@given(st.text())
def test_a_cleaned_text_has_no_control_character(text: str) -> None:
    assert [] == [c for c in clean(text) if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E]


def test_escape_sequences_of_data_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in clean("Ada\x1b]0;owned\x07\x1b[2J")
    assert "Ada Lovelace" == clean("Ada\nLovelace")


def test_right_to_left_text_is_isolated_and_left_to_right_text_is_not_touched() -> None:
    assert f"\u2068{PERSIAN}\u2069" == isolate(PERSIAN)
    assert "Երևան" == isolate("Երևան")
    assert "\u2068a\u05d0b\u2069" == isolate("a\u202e\u05d0b")


def test_moments_are_shown_in_the_workspaces_zone_and_days_as_they_are() -> None:
    tehran = ZoneInfo("Asia/Tehran")
    assert "2026-11-20 15:30" == moment(datetime(2026, 11, 20, 12, 0, tzinfo=UTC), tehran)
    assert "2026-11-20" == moment(date(2026, 11, 20), tehran)
    assert "–" == moment(None, tehran)


@pytest.mark.parametrize(("value", "text"), [(True, "yes"), (("a", "b"), "a, b"), ((), "–"), (None, "–"), (7, "7")])
def test_cells_of_any_field(value: object, text: str) -> None:
    assert text == cell(value, UTC)


def test_counts_and_sizes_in_words() -> None:
    assert ("1 deal", "1,200 deals") == (plural(1, "deal"), plural(1200, "deal"))
    assert ("999 bytes", "1.0 kB", "7.4 MB", "2.0 GB") == tuple(map(size, (999, 1000, 7_400_000, 2 * 10**9)))
