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
from tests.torture.world import fill, require_sound, state

PROMISE = "backup"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Back up at rest and while another process writes; restore, damaged, killed and whole; in each form there is."""
    template, work = place / "template", place / "work"
    backend.make(template, fill)
    storage = backend.opened(template)
    forms = ["a copy"] * ("backup" in storage.capabilities) + ["portable"] * ("replace" in storage.capabilities)
    storage.close()
    for form in forms:
        backend.again(template, work)  # the other process of the form before wrote thousands of records
        before = _state(work)
        file, portable = place / f"{form}.crm", form == "portable"
        back_up(work, file, portable=portable)
        backend.wipe(work)
        start = time.perf_counter()
        restore(work, file)
        duration = time.perf_counter() - start
        require(_state(work) == before, "after a wipe and a restore the content is another")
        flips = _flips(work, file, place / "flipped.crm", 1500 if long else 10)
        require(_state(work) == before, "a refused restore changed something")
        kills = _kills(backend, work, file, before, duration, 60 if long else 3 if backend.files else 2)
        moments = _while_others_write(work, place, portable, 10 if long else 1)
        figure = (
            f"{form}: restored to the same hash; {flips} flipped bytes refused; {kills[0]} kills of a restore, "
            f"{kills[1]} before it was there, old or new each time; {moments} backups while another process wrote, "
            "each of one moment"
        )
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


def _kills(backend: Backend, work: Path, file: Path, backed_up: str, duration: float, times: int) -> tuple[int, int]:
    """Change something, kill a restore on its way, and see which of two states is there; how many, how many old."""
    chance, old = random.Random(20261122), 0
    for number in range(times):
        with CRM.open(work, clock=NOW) as crm:
            crm.customers.add(Customer(name=f"New {number}"))
        changed = _state(work)
        pid = os.fork()
        if pid == 0:
            try:
                restore(work, file, force=True)
            finally:
                os._exit(0)
        time.sleep((number + chance.random()) / times * duration * 2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        storage = backend.opened(work)
        with storage.upgrading():  # a server ends what it was told before it notices
            pass
        storage.close()
        found = _state(work)
        require(found in (changed, backed_up), "a killed restore left something in between")
        old += found == changed
    for left in (*work.glob(".crm-restore-*"), *work.glob(".crm-replace-*")):
        shutil.rmtree(left)
    return times, old


def _while_others_write(work: Path, place: Path, portable: bool, times: int) -> int:
    files = [place / f"{number}-{portable}.crm" for number in range(times)]
    pid = os.fork()
    if pid == 0:
        try:
            with CRM.open(work, clock=NOW) as crm:
                while True:
                    with crm.transaction():  # always both or none
                        customer = crm.customers.add(Customer(name="pair"))
                        crm.deals.add(Deal(customer_id=customer.id, title="pair"))
        finally:
            os._exit(3)
    infos = []
    try:
        for file in files:
            time.sleep(0.1)
            infos.append(back_up(work, file, portable=portable))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    for file, info in zip(files, infos, strict=True):
        restore(work, file, force=True)
        with CRM.open(work, clock=NOW) as crm:
            require_sound(crm, file.name)
            pairs = crm.customers.count('name = "pair"'), crm.deals.count('title = "pair"')
            require(pairs[0] == pairs[1], f"a backup is of two moments: {pairs}")
            require(crm.ledger.history.head() == info.position, "a backup is of another moment than it says")
    return times
