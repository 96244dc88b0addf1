"""Two workers, killed at each step: every message is sent, and twice only where the kill fell between send and mark."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from crm_core import CRM, Customer, hookimpl
from crm_core.events import CustomersChanged
from tests.torture import Finding, require
from tests.torture.backends import Backend
from tests.torture.faults import faults

PROMISE = "delivery"


class Sender:
    """Sends a message for each new customer: a line of a file, whose id is the transaction's position."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox

    @hookimpl
    def on_customers_changed(self, event: CustomersChanged) -> None:
        """Send."""
        fd = os.open(self._outbox, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{event.position}\n".encode())
        os.close(fd)


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Write messages while nobody listens, then let pairs of workers deliver them, each killed at some statement."""
    work, outbox = place / "work", place / "outbox"
    messages = 500 if long else 250 if backend.name == "sqlite" else 60
    backend.make(work)
    with CRM.open(work, plugins=[Sender(outbox)]):
        pass  # its cursor begins here
    with CRM.open(work) as crm:
        for number in range(messages):
            crm.customers.add(Customer(name=f"M{number}"))
        head = crm.ledger.history.head()
    chance = random.Random(20261122)
    steps = iter(range(1, 60 if long else 25))
    kills = 0
    for _ in range(1000):
        if _at(work) == head:
            break
        pids = [_worker(work, outbox, next(steps, 0) or chance.randrange(5, 60 if long else 400)) for _ in range(2)]
        kills += sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in pids)
    sent = [int(line) for line in outbox.read_text("ascii").split()]
    times = Counter(sent)
    require(set(times) == set(range(head - messages + 1, head + 1)), f"{messages - len(times)} messages were lost")
    require(list(times) == sorted(times), "messages came out of order")
    doubled = len(sent) - len(times)
    require(doubled <= kills, f"{doubled} messages came twice after {kills} kills")
    figure = f"2 workers, {messages} messages, {kills} kills: 0 lost, {doubled} twice under the same id"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _at(work: Path) -> int:
    with CRM.open(work) as crm:
        (cursor,) = [one for one in crm.ledger.delivery.cursors() if one.plugin == "Sender"]
        return cursor.position


def _worker(work: Path, outbox: Path, stop: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        with CRM.open(work, plugins=[Sender(outbox)]) as crm, faults.armed("exit", stop):
            crm.ledger.deliver(60)
    finally:
        os._exit(0)
