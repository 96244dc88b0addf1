"""An import that is done twice, or killed at any statement and done again: the same content as one clean run."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from crm_core import CRM
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend
from tests.torture.faults import KILLED, faults, in_child, must_break
from tests.torture.world import bring, content, fill, require_sound

PROMISE = "idempotent import"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Import once, twice, and killed at a statement and then again."""
    rows = 2000 if long else 150
    template, work = place / "template", place / "work"
    backend.make(template, fill)
    backend.again(template, work)
    clean, count = _twice(work, rows)
    chance = random.Random(20261122)
    kills = 60 if long else 10 if backend.name == "sqlite" else 5
    points = sorted(chance.sample(range(1, count + 1), min(count, kills)))
    _again(backend, template, work, rows, points, clean)
    if backend.name == "sqlite":
        _control(backend, template, work)
    figure = f"{rows} rows: twice, and {len(points)} times killed and done again, the same content"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _twice(work: Path, rows: int) -> tuple[str, int]:
    """Import, and import again; returns what is there after either, and how many statements the first one was."""
    with CRM.open(work, clock=NOW) as crm:
        with faults.armed("count"):
            _balanced(bring(crm, rows))
        count, clean = faults.count, content(crm)
        head = crm.customers.count()
        _balanced(bring(crm, rows))
        require((clean, head) == (content(crm), crm.customers.count()), "the second import changed something")
    return clean, count


def _again(backend: Backend, template: Path, work: Path, rows: int, points: Sequence[int], clean: str) -> None:
    """Import, killed at a statement, and then again."""
    for point in points:
        at, code = point, 0
        while code == 0:  # chunks are as large as the machine is quick: it may come to its end in fewer statements
            backend.again(template, work)
            code = in_child(lambda at=at: _killed(work, rows, at))  # type: ignore[misc]
            at = at if code else at * 2 // 3
        require(code == KILLED, f"statement {at}: the import ended with {code}")
        with CRM.open(work, clock=NOW) as crm:
            _balanced(bring(crm, rows))
            require(clean == content(crm), f"killed at statement {at} and done again: another content")
            require_sound(crm, f"killed at statement {at}")


_ROWS = 25
"""Rows of the controls."""
_VALUES = re.compile(r'(INSERT INTO "external_ids" .*)VALUES \((.*)\)$', re.DOTALL)


def _control(backend: Backend, template: Path, work: Path) -> None:
    """Break the promise on purpose: keys of imported rows that are forgotten, statements that commit one by one."""
    backend.again(template, work)
    clean, count = _twice(work, _ROWS)

    def twice() -> None:
        backend.again(template, work)
        _twice(work, _ROWS)

    def again() -> None:
        _again(backend, template, work, _ROWS, range(1, count + 1), clean)

    must_break("the second import changed something", lambda sql: _VALUES.sub(r"\1SELECT \2 WHERE FALSE", sql), twice)
    must_break("another content", _one_by_one(), again)


def _one_by_one() -> Callable[[str], str]:
    """Return what takes transactions that write from a run; its statements stay as many."""
    writing = False

    def rewritten(sql: str) -> str:
        nonlocal writing
        before, writing = writing, sql == "BEGIN IMMEDIATE" or (writing and sql not in ("COMMIT", "ROLLBACK"))
        return sql if before == writing else "DROP TABLE IF EXISTS of_no_name"

    return rewritten


def _killed(work: Path, rows: int, at: int) -> None:
    with CRM.open(work, clock=NOW) as crm, faults.armed("exit", at):
        bring(crm, rows)


def _balanced(report: Any) -> None:
    counts = report.counts
    total = counts.created + counts.updated + counts.unchanged + counts.rejected
    require(counts.read == total, f"{counts.read} rows were read, {total} accounted for")
