"""What commands make of the text of their options."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click
import pytest

from crm_core.console import instant


def test_a_day_means_its_last_instant_so_that_this_month_is_the_month_of_that_day() -> None:
    end = instant("2017-12-31", ZoneInfo("Europe/Berlin"))
    assert datetime(2017, 12, 31, 22, 59, 59, 999_999, tzinfo=UTC) == end


def test_a_time_without_an_offset_is_local() -> None:
    assert datetime(2017, 12, 31, 13, tzinfo=UTC) == instant("2017-12-31T14:00", ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("typed", ["yesterday", "9999-12-31"])
def test_what_is_neither_or_does_not_end_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a day"):
        instant(typed, UTC)
