"""Many writers on one record: every increment arrives, through the service and through the command line."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from crm_core import CRM, Customer, Interaction
from crm_core.cli.main import main
from crm_core.errors import ConflictError
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend

PROMISE = "no lost update"
WORKERS = 4


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Count to 2,000 by 4 processes through the service, then to 100 through the command line."""
    work = place / "work"
    each = 500 if long else 120 if backend.name == "sqlite" else 40
    backend.make(work, _one)
    _all(WORKERS, lambda: _through_the_service(work, each))
    with CRM.open(work) as crm:
        (one,) = crm.interactions.find().records
    expected = WORKERS * each
    require(
        (one.duration, one.version) == (expected, expected + 1), f"{one.duration} of {expected} increments are there"
    )
    figure = f"{WORKERS} processes x {each} increments = {one.duration:,} exactly"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)
    times = 25 if long else 5 if backend.name == "sqlite" else 2
    _all(WORKERS, lambda: _through_commands(work, times))
    with CRM.open(work) as crm:
        (customer,) = crm.customers.find().records
    require(
        customer.city == str(WORKERS * times), f"the command line counted to {customer.city}, not {WORKERS * times}"
    )
    figure = f"{WORKERS} x {times} by crm customers edit --if-version = {customer.city} exactly"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _one(crm: CRM) -> None:
    customer = crm.customers.add(Customer(name="Counter", city="0"))
    crm.interactions.add(Interaction(customer_id=customer.id, kind="note", duration=0, occurred_at=NOW.now()))


def _all(count: int, work: Callable[[], None]) -> None:
    """Run some work in several forked processes at once; all must end well."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            code = 3
            try:
                work()
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    require(codes == [0] * count, f"the writers ended with {codes}")


def _through_the_service(work: Path, times: int) -> None:
    with CRM.open(work) as crm:
        (one,) = crm.interactions.find().records
        for _ in range(times):
            while True:
                one = crm.interactions.get(one.id)
                try:
                    crm.interactions.edit(one.evolve(duration=(one.duration or 0) + 1))
                    break
                except ConflictError:
                    continue


def _through_commands(work: Path, times: int) -> None:
    for _ in range(times):
        while True:
            (one,) = json.loads(_crm(work, "customers", "list", "--columns", "city", "--json")[1])
            change = (f"city={int(one['city']) + 1}", "--if-version", str(one["version"]))
            code, _ = _crm(work, "customers", "edit", one["id"], *change)
            if code == 0:
                break
            require(code == 1, f"crm ended with {code}")


def _crm(work: Path, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main(["-w", str(work), *arguments])
    return code, out.getvalue()
