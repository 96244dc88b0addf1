"""Killing a process that writes, at any moment: what it acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

from crm_core import CRM, Customer, Deal
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend
from tests.torture.world import require_sound

PROMISE = "crash safety: kill -9"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Kill a writer 10 or 30 times (long: 300); a kill says nothing of syncing, so that is asked for."""
    work = place / "work"
    backend.make(work)
    synced = _synced(backend, work)
    chance = random.Random(20261122)
    cycles = 300 if long else 30 if backend.name == "sqlite" else 10
    acknowledged = 0
    for cycle in range(cycles):
        acknowledged = _cycle(work, chance, acknowledged)
        with CRM.open(work, clock=NOW) as crm:
            there = crm.customers.count()
            where = f"cycle {cycle}: {acknowledged} acknowledged, {there} there"
            require(acknowledged <= there <= acknowledged + 1, where)
            require(there == crm.deals.count() == crm.customers.count("tags contains 'k'"), f"{where}: halves")
            require(crm.ledger.history.head() == there, f"{where}: the ledger says {crm.ledger.history.head()}")
            if cycle % 10 == 9:
                require_sound(crm, where)
            acknowledged = there
    figure = f"{cycles} kills, {acknowledged} commits, 0 acknowledged ones lost; {synced}"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _synced(backend: Backend, work: Path) -> str:
    storage = backend.opened(work)
    details = storage.status().details
    storage.close()
    if backend.name == "sqlite":
        found = (details["journal"], details["synchronous"])
        require(found == ("wal", "full"), f"journal and synchronous are {found}")
        return "synchronous=full"
    return (
        ", ".join(f"{name}={value}" for name, value in details.items() if "sync" in f"{name}{value}") or "sync: its own"
    )


def _cycle(work: Path, chance: random.Random, start: int) -> int:
    """Start a writer, kill it, and return how many commits were acknowledged in all."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _write(work, writing, start)
        finally:
            os._exit(3)
    os.close(writing)
    wanted = chance.randrange(1, 12)
    text = b""
    while text.count(b"\n") < wanted:
        text += os.read(reading, 4096)
    for _ in range(chance.randrange(4000)):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while more := os.read(reading, 4096):
        text += more
    os.close(reading)
    return max(int(line) for line in text.decode().splitlines())


def _write(work: Path, acknowledgements: int, start: int) -> None:
    crm = CRM.open(work, clock=NOW)
    number = start
    while True:
        with crm.transaction():
            customer = crm.customers.add(Customer(name=f"K{number}", tags=("k",)))
            crm.deals.add(Deal(customer_id=customer.id, title=f"K{number}"))
        number += 1
        os.write(acknowledgements, b"%d\n" % number)
