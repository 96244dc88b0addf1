"""The outbox, killed between each two steps of a sending: no message is lost, and a repetition has the same id.

First two messages a step: the worker ends at its first statement, its second, and so on, and right before and after the
service takes a message. Then two workers share many messages, each killed at some statement, time and again.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from crm_core import CRM, Customer
from crm_core.extend import JobRun
from crm_inbox import OutboxMessage
from crm_inbox.sending import send_account
from tests.torture import Finding, require
from tests.torture.backends import Backend
from tests.torture.faults import KILLED, faults

PROMISE = "outbox: kill -9"
_MOST_STEPS: Final = 200
_CHANNEL: Final = """
import os
import attrs
from crm_core import hookimpl
from crm_core.extend import Channel, ChannelType, Receipt

@attrs.frozen(kw_only=True)
class Settings:
    place: str

class Lines(Channel):
    def __init__(self, account):
        self.place = account.settings.place

    def check(self):
        return "well"

    def send(self, message):
        if os.environ.get("KILL_AT") == "before":
            os._exit(9)
        fd = os.open(self.place, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, f"{message.message_id} {message.text}\\n".encode())
        os.close(fd)
        if os.environ.get("KILL_AT") == "after":
            os._exit(9)
        return Receipt(provider_id=message.message_id)

@hookimpl
def register_channels():
    return [ChannelType(name="lines", label="Lines", address_kind="email", settings=Settings, open=Lines,
        capabilities=frozenset({"send"}))]
"""


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Kill a worker at each step of a sending (quick: every third, but on SQLite), then pairs at random ones."""
    work, sent = place / "work", place / "sent"
    backend.make(work)
    (work / "lines.py").write_text(_CHANNEL, "utf-8")
    with (work / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[plugins]\npaths = ["./lines.py"]\n')
        settings.write(f'[channels.desk]\ntype = "lines"\nplace = {json.dumps(str(sent))}\n')
    with CRM.open(work) as crm:
        customer = crm.customers.add(Customer(name="K"), email="k@example.org").id
    apart = 1 if long or backend.name == "sqlite" else 3
    yield _each_step(backend, work, sent, customer, apart)
    yield _two_workers(backend, work, sent, customer, 400 if long else 40 if backend.name == "sqlite" else 16)


def _each_step(backend: Backend, work: Path, sent: Path, customer: int, apart: int) -> Finding:
    steps = 0
    for at in ("before", "after"):
        _queue(work, customer, at)
        require(_worker(work, 0, kill=at) == KILLED, f"the worker was not killed {at} the service took the message")
        _send_all(work)
        steps += 1
    for step in range(1, _MOST_STEPS, apart):
        for place in ("first", "second"):  # that the first one left is noted where the second one is taken
            _queue(work, customer, f"step {step}, {place}")
        killed = _worker(work, step) == KILLED
        _send_all(work)
        if not killed:
            break
        steps += 1
    else:
        require(False, f"a sending has more than {_MOST_STEPS} steps")
    doubled = _require_all(work, sent, steps)
    figure = f"{steps} steps of two messages, a kill at each: 0 lost, {doubled} twice under the same id"
    promise = f"{PROMISE} at {'each' if apart == 1 else 'every third'} step"
    return Finding(promise=promise, storage=backend.name, state="held", figure=figure)


def _two_workers(backend: Backend, work: Path, sent: Path, customer: int, messages: int) -> Finding:
    before = len(_lines(sent)) - len(set(_lines(sent)))
    with CRM.open(work) as crm:
        for number in range(messages):
            crm.outbox.send(f"of two {number}", customer=customer)
    chance, kills = random.Random(20261122), 0
    for _ in range(1000):
        with CRM.open(work) as crm:
            if not crm.records(OutboxMessage).count('not status = "sent"'):
                break
        pids = [_forked(work, chance.randrange(3, 60), jobs=True) for _ in range(2)]
        kills += sum(_ended(pid) == KILLED for pid in pids)
    doubled = _require_all(work, sent, kills + before) - before
    figure = f"2 workers, {messages} messages, {kills} kills: 0 lost, {doubled} twice under the same id"
    return Finding(promise=f"{PROMISE}, two workers", storage=backend.name, state="held", figure=figure)


def _require_all(work: Path, sent: Path, kills: int) -> int:
    """Go on only if each message left under its one id; returns how many left twice."""
    lines = _lines(sent)
    ids = Counter(line.partition(" ")[0] for line in lines)
    with CRM.open(work) as crm:
        wanted = {each.message_id: each.status for each in crm.records(OutboxMessage).find(limit=None)}
    require(set(wanted) == set(ids), f"{len(set(wanted) - set(ids))} messages were lost")
    require(set(wanted.values()) == {"sent"}, f"messages that left are {set(wanted.values())}")
    require(len(set(lines)) == len(ids), "a message left under two ids")
    doubled = len(lines) - len(ids)
    require(doubled <= kills, f"{doubled} messages left twice after {kills} kills")
    return doubled


def _queue(work: Path, customer: int, text: str) -> None:
    with CRM.open(work) as crm:
        crm.outbox.send(text, customer=customer)


def _send_all(work: Path) -> None:
    with CRM.open(work) as crm:
        send_account(JobRun(crm=crm, part="desk", stopping=lambda: False))


def _worker(work: Path, stop: int, *, kill: str = "") -> int:
    """Send in a process that ends at a step; returns how it ended."""
    return _ended(_forked(work, stop, kill=kill))


def _forked(work: Path, stop: int, *, kill: str = "", jobs: bool = False) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ["KILL_AT"] = kill
        with CRM.open(work) as crm, faults.armed("exit", stop):
            if jobs:
                crm.jobs.run()
            else:
                send_account(JobRun(crm=crm, part="desk", stopping=lambda: False))
    finally:
        os._exit(0)


def _ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _lines(sent: Path) -> list[str]:
    return sent.read_text("utf-8").splitlines() if sent.exists() else []
