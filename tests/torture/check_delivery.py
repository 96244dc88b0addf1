"""Two workers, killed at each step: every message is sent, and twice only where the kill fell between send and mark.

First by the call that delivers, which ends at each of its statements; then by `crm run`, of whose processes are killed
the one that started the workers, a worker, or both.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs

from crm_core import CRM, Customer, hookimpl
from crm_core.events import CustomersChanged
from crm_core.upkeep import Workers
from tests.torture import Finding, require
from tests.torture.backends import Backend
from tests.torture.faults import faults
from tests.torture.forking import forked_workers

PROMISE = "delivery"
_PATIENCE: Final = 120
_SENDER: Final = """
import os, time
from crm_core import hookimpl

@hookimpl
def on_customers_changed(event):
    fd = os.open({outbox!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{{event.position}}\\n".encode())
    os.close(fd)
    time.sleep(0.002)
"""


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
    messages = 500 if long else 80 if backend.name == "sqlite" else 40
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
    doubled = _require_all(sent, head, messages, kills)
    figure = f"2 workers, {messages} messages, {kills} kills: 0 lost, {doubled} twice under the same id"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)
    if not Path("/proc/self/task").exists():
        yield Finding(promise="delivery, crm run", storage=backend.name, state="NOT RUN", figure="there is no /proc")
        return
    with forked_workers(not long):
        yield _by_daemons(backend, place, messages)


def _by_daemons(backend: Backend, place: Path, messages: int) -> Finding:
    """Let two `crm run` share the messages, one of which is killed time and again."""
    work, outbox = place / "daemons", place / "daemons-outbox"
    backend.make(work)
    (work / "sender.py").write_text(_SENDER.format(outbox=str(outbox)), "utf-8")
    with CRM.open(work) as crm:
        for number in range(messages):
            crm.customers.add(Customer(name=f"M{number}"))
        head = crm.ledger.history.head()
    with (work / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[plugins]\npaths = ["./sender.py"]\n')
    with CRM.open(work) as crm:
        crm.ledger.delivery.leases.save(
            [
                attrs.evolve(one, position=head - messages)
                for one in crm.ledger.delivery.cursors()
                if one.plugin == "sender"
            ]
        )
    chance = random.Random(20261122)
    steady, kills = _daemon(work), 0
    try:
        while (done := _count(outbox)) < messages * 9 // 10:
            other = _daemon(work)
            _wait(functools.partial(_has, outbox, min(messages, done + messages // 20)))
            # The one that starts workers dies alone, or with its worker; at times a worker dies alone.
            for pid in chance.choice(([], _children(other))):
                os.kill(pid, signal.SIGKILL)
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
            alone = _children(steady) if chance.random() < 0.3 else []
            for pid in alone:
                os.kill(pid, signal.SIGKILL)
            kills += 1 + len(alone)
        _wait(lambda: str(head) in outbox.read_text("ascii").split())
    finally:
        os.kill(steady, signal.SIGTERM)
        os.waitpid(steady, 0)
    sent = [int(line) for line in outbox.read_text("ascii").split()]
    doubled = _require_all(sent, head, messages, kills)
    figure = f"2 daemons, {messages} messages, {kills} kills: 0 lost, {doubled} twice under the same id"
    return Finding(promise="delivery, crm run", storage=backend.name, state="held", figure=figure)


def _require_all(sent: list[int], head: int, messages: int, kills: int) -> int:
    """Go on only if every message was sent, in order; returns how many came twice."""
    times = Counter(sent)
    require(set(times) == set(range(head - messages + 1, head + 1)), f"{messages - len(times)} messages were lost")
    require(list(times) == sorted(times), "messages came out of order")
    doubled = len(sent) - len(times)
    require(doubled <= kills, f"{doubled} messages came twice after {kills} kills")
    return doubled


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


def _daemon(work: Path) -> int:
    """Start `crm run` on a workspace; returns the id of the process that starts the workers."""
    pid = os.fork()
    if pid:
        return pid
    try:
        crew = Workers(work, every=0.05)
        signal.signal(signal.SIGTERM, lambda number, frame: crew.stop())
        crew.run()
    finally:
        os._exit(0)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def _count(outbox: Path) -> int:
    return len(set(outbox.read_text("ascii").split())) if outbox.exists() else 0


def _has(outbox: Path, count: int) -> bool:
    return _count(outbox) >= count


def _wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        require(time.monotonic() < end, f"the messages did not come on within {_PATIENCE} s")
        time.sleep(0.02)
