"""What a benchmark hands over: rows that put our figure beside the best one known for the same work.

A file `bench_<name>.py` here has one function, `run(full: bool) -> list[Row]`; `make bench` finds and prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

import attrs

AS_OURS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 16000",
    "PRAGMA cache_size = -65536",
)
"""The settings of an SQLite connection that inserts many rows: the raw side has those of ours."""


@attrs.frozen(kw_only=True)
class Row:
    """One figure: `limit` is the raw side measured beside it, `goal` the promise in words, `met` whether it held."""

    name: str
    ours: float
    unit: str = "ms"
    limit: float | None = None
    goal: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """Ours over the limit; None when nothing was measured beside it."""
        return self.ours / self.limit if self.limit else None


def beside(name: str, ours: float, limit: float, *, times: float, slack: float = 0.0, unit: str = "ms") -> Row:
    """A cost with its raw side: the goal is at most `times` the limit, or at most `slack` units more than it."""
    goal = f"at most {times:g}x" + (f" or +{slack:g} {unit}" if slack else "")
    return Row(name=name, ours=ours, unit=unit, limit=limit, goal=goal, met=ours <= max(limit * times, limit + slack))


def at_least(name: str, ours: float, floor: float, *, unit: str) -> Row:
    """A rate that should not fall below a floor."""
    return Row(name=name, ours=ours, unit=unit, goal=f"at least {floor:,g} {unit}", met=ours >= floor)


def at_most(name: str, ours: float, ceiling: float, *, unit: str) -> Row:
    """A cost that should not pass a ceiling."""
    return Row(name=name, ours=ours, unit=unit, goal=f"at most {ceiling:,g} {unit}", met=ours <= ceiling)


def side_by_side(
    ours: Callable[[], object],
    limit: Callable[[], object],
    *,
    rounds: int = 5,
    clock: Callable[[], float] = perf_counter,
) -> tuple[float, float]:
    """Median milliseconds of both, run in turn so that a busy machine slows both; see `in_turn`."""
    mine, raw = in_turn(ours, limit, rounds=rounds, clock=clock)
    return mine, raw


def in_turn(*calls: Callable[[], object], rounds: int = 5, clock: Callable[[], float] = perf_counter) -> list[float]:
    """Median milliseconds of each call, one after the other in each round; an unmeasured round warms up.

    `clock` counts the seconds: `time.process_time` those in which this process was at work, where nothing is waited for
    and other work on the machine would blur a difference of a few milliseconds.
    """
    for call in calls:
        call()
    measured = [[_milliseconds(call, clock) for call in calls] for _ in range(rounds)]
    return [median(each) for each in zip(*measured, strict=True)]


def _milliseconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return (clock() - start) * 1000


def rate_of_pandas(name: str, size: int, seconds: Callable[[], float]) -> Row:
    """The rows a second of pandas' `read_csv` and `to_sql`, or that it is not there."""
    if find_spec("pandas") is None:
        return Row(name=f"  pandas, {name}: NOT RUN, pandas is not installed", ours=0, unit="rows/s")
    return Row(name=f"  pandas read_csv + to_sql, {name}", ours=size / seconds(), unit="rows/s")


def on_postgresql(folder: Path, measured: Callable[[str], list[Row]]) -> list[Row]:
    """What is measured at the URL of a new database of PostgreSQL; where no server is there, that it was NOT RUN."""
    # Not in the processes that import, whose memory is measured.
    import pytest

    from tests.databases import drop_all, new_url

    try:
        url = new_url("postgresql", folder)
    except pytest.skip.Exception as reason:
        return [Row(name=f"  postgresql: {reason.msg}", ours=0, unit="rows/s")]
    try:
        return measured(url)
    finally:
        drop_all()
