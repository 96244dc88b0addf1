"""An import that is done twice, or killed at any statement and done again: the same content as one clean run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crm_core import CRM
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend
from tests.torture.faults import KILLED, faults, in_child
from tests.torture.world import bring, content, fill, require_sound

PROMISE = "idempotent import"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Import once, twice, and killed at a statement and then again."""
    rows = 2000 if long else 150
    template, work = place / "template", place / "work"
    backend.make(template, fill)
    backend.again(template, work)
    with CRM.open(work, clock=NOW) as crm:
        with faults.armed("count"):
            _balanced(bring(crm, rows))
        count, clean = faults.count, content(crm)
        head = crm.customers.count()
        _balanced(bring(crm, rows))
        require((clean, head) == (content(crm), crm.customers.count()), "the second import changed something")
    chance = random.Random(20261122)
    points = sorted(chance.sample(range(1, count + 1), min(count, 60 if long else 10)))
    for at in points:
        backend.again(template, work)
        code = in_child(lambda at=at: _killed(work, rows, at))  # type: ignore[misc]
        require(code == KILLED, f"statement {at}: the import ended with {code}")
        with CRM.open(work, clock=NOW) as crm:
            _balanced(bring(crm, rows))
            require(clean == content(crm), f"killed at statement {at} of {count} and done again: another content")
            require_sound(crm, f"killed at statement {at}")
    figure = f"{rows} rows: twice, and {len(points)} times killed and done again, the same content"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _killed(work: Path, rows: int, at: int) -> None:
    with CRM.open(work, clock=NOW) as crm, faults.armed("exit", at):
        bring(crm, rows)


def _balanced(report: Any) -> None:
    counts = report.counts
    total = counts.created + counts.updated + counts.unchanged + counts.rejected
    require(counts.read == total, f"{counts.read} rows were read, {total} accounted for")
