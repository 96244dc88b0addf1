"""Power cuts at any write: acknowledged commits are there and the database is sound, whatever part was not synced."""

from __future__ import annotations

import ctypes
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from crm_core.errors import CrmError
from crm_core.ledger.evolution import upgrade
from crm_core.testing.tables import MANIFEST, thing
from crm_storage_sql.plugin import open_sqlite
from tests.torture import Broken, Finding, require
from tests.torture.backends import Backend
from tests.torture.faults import DATABASE, in_child, rewriting
from tests.torture.vfs import Event, Recorder, cuts, library

PROMISE = "crash safety: power cut"
_COMMITS = 60


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Record a run that checkpoints often, and cut the power at many places of it; without syncs that must show."""
    found = library()
    if backend.name != "sqlite" or found is None:
        why = "its writes are not recorded" if found is not None else "Python's SQLite cannot be reached by ctypes"
        yield Finding(promise=PROMISE, storage=backend.name, state="NOT RUN", figure=why)
        return
    events = _recorded(found, place / "full", "FULL")
    tried = _cut(events, place / "cut", 4000 if long else 150)
    unsafe = _recorded(found, place / "off", "OFF")
    require(sum(event[0] == "sync" for event in unsafe) < 5, "synchronous=OFF was not switched on for the control")
    try:
        _cut(unsafe, place / "cut-off", 150)
    except (Broken, CrmError):
        pass
    else:
        raise Broken("without any sync nothing was lost: this check finds nothing")
    writes = sum(event[0] == "write" for event in events)
    figure = f"{tried} cuts among {writes} writes, {_COMMITS} commits: 0 acknowledged ones lost, all sound"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=f"{figure}; without syncs it fails")


def _recorded(found: ctypes.CDLL, place: Path, level: str) -> list[Event]:
    """Return what a run asked of the file system, with a checkpoint every few pages."""
    place.mkdir()

    def settings(sql: str) -> str:
        if sql == "PRAGMA synchronous=FULL":
            return f"PRAGMA synchronous={level}"
        return "PRAGMA wal_autocheckpoint=7" if sql.startswith("PRAGMA wal_autocheckpoint") else sql

    def work() -> None:
        recorder = Recorder(found)
        with rewriting(settings):
            storage = open_sqlite(f"sqlite:///{place / DATABASE}", {})
            upgrade(storage, MANIFEST)
            for number in range(1, _COMMITS + 1):
                storage.begin()
                row = thing(number, name="x" * (number % 9) * 400)
                storage.insert_many("things", MANIFEST.tables["things"].column_names, [row])
                storage.append_ledger(["id", "notes"], (number, None))
                storage.commit()
                recorder.acknowledge(number)
            storage.close()
        (place / "events").write_bytes(pickle.dumps(recorder.events))

    require(in_child(work) == 0, "the recorded run failed")
    events: list[Event] = pickle.loads((place / "events").read_bytes())
    require(sum(event[0] == "write" for event in events) > 3 * _COMMITS, "hardly a write was recorded")
    return events


def _cut(events: list[Event], place: Path, times: int) -> int:
    chance = random.Random(20261122)
    rounds = max(1, times // len(events))
    tried = 0
    for _ in range(rounds):
        points = sorted(chance.sample(range(len(events)), min(times, len(events))))
        for acknowledged, content in cuts(events, points, chance):
            _look(place, content, acknowledged)
            tried += 1
    return tried


def _look(place: Path, content: dict[str, bytes], acknowledged: int) -> None:
    if place.exists():
        shutil.rmtree(place)
    place.mkdir()
    for name, data in content.items():
        (place / name).write_bytes(data)
    storage = open_sqlite(f"sqlite:///{place / DATABASE}", {})
    try:
        where = f"after {acknowledged} acknowledged commits"
        require(storage.check() == [], f"{where}: {storage.check()}")
        if storage.schema() is None:
            require(acknowledged == 0, f"{where}: the database is empty")
            return
        rows = [row[0] for row in storage.find("things", columns=["id"])]
        require(rows == list(range(1, len(rows) + 1)), f"{where}: rows are missing in between")
        require(acknowledged <= len(rows) <= acknowledged + 1, f"{where}: there are {len(rows)}")
        require(len(rows) == storage.count("ledger_transactions"), f"{where}: halves")
    finally:
        storage.close()
