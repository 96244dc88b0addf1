"""Backup, wipe, restore: the same content; a flipped byte is refused; a killed restore is whole or not at all."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from crm_core import CRM, Customer, Deal
from crm_core.errors import StorageError
from crm_core.upkeep import back_up, restore
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend
from tests.torture.world import ACTIONS, fill, require_sound, state

PROMISE = "backup"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Back up at rest and while another process writes; restore, damaged, killed and whole."""
    work, file = place / "work", place / "backup.crm"
    backend.make(work, fill)
    storage = backend.opened(work)
    able = "backup" in storage.capabilities
    storage.close()
    if not able:
        yield Finding(promise=PROMISE, storage=backend.name, state="NOT RUN", figure="it has tools of its own for this")
        return
    before = _state(work)
    back_up(work, file)
    backend.wipe(work)
    restore(work, file)
    require(_state(work) == before, "after a wipe and a restore the content is another")
    flips = _flips(work, file, place / "flipped.crm", 1500 if long else 20)
    require(_state(work) == before, "a refused restore changed something")
    kills = _kills(work, file, before, 60 if long else 5)
    moments = _while_others_write(backend, place, 10 if long else 2)
    figure = (
        f"restored to the same hash; {flips} flipped bytes refused; {kills} kills of a restore, old or new each time"
    )
    figure += f"; {moments} backups while another process wrote, each of one moment"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _state(work: Path) -> str:
    with CRM.open(work, clock=NOW) as crm:
        require_sound(crm, "backup")
        return state(crm)


def _flips(work: Path, file: Path, flipped: Path, times: int) -> int:
    whole = file.read_bytes()
    chance = random.Random(20261122)
    head = whole.index(b"\n", whole.index(b"\n") + 1)
    places = [
        *range(0, 90, 9),
        head - 1,
        head,
        head + 1,
        len(whole) - 1,
        *(chance.randrange(len(whole)) for _ in range(times)),
    ]
    for at in places:
        changed = bytearray(whole)
        changed[at] ^= 1 << chance.randrange(8)
        flipped.write_bytes(changed)
        try:
            restore(work, flipped, force=True)
        except StorageError:
            continue
        require(False, f"the flipped byte {at} was not noticed")
    return len(places)


def _kills(work: Path, file: Path, backed_up: str, times: int) -> int:
    """Change something, kill a restore after a while, and see which of the two states is there."""
    chance = random.Random(20261122)
    for _ in range(times):
        with CRM.open(work, clock=NOW) as crm:
            ACTIONS["add customer"](crm) if not crm.customers.count('name = "New"') else None
        changed = _state(work)
        pid = os.fork()
        if pid == 0:
            try:
                restore(work, file, force=True)
            finally:
                os._exit(0)
        time.sleep(chance.random() * 0.08)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        require(_state(work) in (changed, backed_up), "a killed restore left something in between")
    for left in work.glob(".crm-restore-*"):
        shutil.rmtree(left)
    return times


def _while_others_write(backend: Backend, place: Path, times: int) -> int:
    busy, other = place / "busy", place / "other"
    backend.make(busy)
    pid = os.fork()
    if pid == 0:
        try:
            with CRM.open(busy, clock=NOW) as crm:
                while True:
                    with crm.transaction():  # always both or none
                        customer = crm.customers.add(Customer(name="pair"))
                        crm.deals.add(Deal(customer_id=customer.id, title="pair"))
        finally:
            os._exit(3)
    try:
        for number in range(times):
            time.sleep(0.05)
            file = place / f"{number}.crm"
            info = back_up(busy, file)
            backend.make(other)
            restore(other, file, force=True)
            with CRM.open(other, clock=NOW) as crm:
                require_sound(crm, f"backup {number}")
                require(crm.customers.count() == crm.deals.count() == info.position, "a backup is of two moments")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return times
