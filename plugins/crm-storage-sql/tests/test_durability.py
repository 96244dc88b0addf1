"""What only several processes can show: acknowledged commits outlive a kill, and no update is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from crm_core.ledger.evolution import upgrade
from crm_core.testing.tables import MANIFEST, thing
from crm_storage_sql.plugin import open_sqlite
from crm_storage_sql.sqlite import claim, pragma

pytestmark = pytest.mark.database("sqlite")

# Plain imports only: the processes start in a tenth of a second, so that twenty of them are a short test.
_SETUP = """
import json, sys
from crm_storage_sql.plugin import open_sqlite
from crm_core.extend import Update
from crm_core.ledger.evolution import upgrade
from crm_core.records.schema import Manifest
manifest = Manifest.from_json(json.loads(sys.argv[2]))
storage = open_sqlite("sqlite:///" + sys.argv[1], {})
upgrade(storage, manifest)
"""
_WRITE_UNTIL_KILLED = f"""{_SETUP}
first = storage.count("things")
while True:
    ids = range(first + 1, first + 4)
    storage.begin()
    storage.insert_many("things", ["id", "version", "created_tx", "updated_tx"], [(n, 1, 1, 1) for n in ids])
    storage.append_ledger(["id", "notes"], (first + 1, "n"))
    storage.commit()
    first += 3
    print(first, flush=True)
"""
_INCREMENT = f"""{_SETUP}
for _ in range(int(sys.argv[3])):
    done = False
    while not done:
        ((version, size),) = storage.find("things", columns=["version", "size"])
        storage.begin()
        done = not storage.update_if_version("things", [Update(1, version, {{"size": size + 1}})])
        storage.commit()
storage.close()
"""
_MANIFEST = json.dumps(MANIFEST.to_json())


def test_a_killed_process_loses_no_acknowledged_commit_and_leaves_no_half(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    for cycle in range(20):
        command = [sys.executable, "-c", _WRITE_UNTIL_KILLED, str(path), _MANIFEST]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged = [process.stdout.readline() for _ in range(3 + cycle)]
            process.kill()
            acknowledged += process.stdout.read().splitlines(keepends=True)
        last = max(int(line) for line in acknowledged if line.endswith("\n"))
        storage = open_sqlite(f"sqlite:///{path}", {})
        there = storage.count("things")
        assert last <= there <= last + 3
        assert [(n,) for n in range(1, there + 1)] == storage.find("things", columns=["id"])
        positions = storage.find("ledger_transactions", columns=["position"])
        assert [(n,) for n in range(1, there // 3 + 1)] == positions
        storage.close()


def test_no_update_is_lost_between_processes(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    storage = open_sqlite(f"sqlite:///{path}", {})
    upgrade(storage, MANIFEST)
    storage.begin()
    storage.insert_many("things", MANIFEST.tables["things"].column_names, [thing(1, size=0)])
    storage.commit()
    command = [sys.executable, "-c", _INCREMENT, str(path), _MANIFEST, "250"]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [0, 0, 0, 0] == [process.wait() for process in processes]
    assert [thing(1, version=1001, size=1000)] == storage.find("things")
    storage.close()


def test_a_database_that_another_process_claims_at_this_moment_is_known_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "crm.db", isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")

    def claimed_meanwhile(connection: sqlite3.Connection, name: str) -> str | int:
        value = pragma(connection, name)
        if name == "application_id":
            claim(other)
        return value

    monkeypatch.setattr("crm_storage_sql.sqlite.pragma", claimed_meanwhile)
    open_sqlite(f"sqlite:///{tmp_path}/crm.db", {}).close()
    other.close()


def test_several_processes_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _INCREMENT, str(tmp_path / "crm.db"), _MANIFEST, "0"]
    processes = [subprocess.Popen(command) for _ in range(6)]
    assert [0] * 6 == [process.wait() for process in processes]
    storage = open_sqlite(f"sqlite:///{tmp_path}/crm.db", {})
    assert MANIFEST == storage.schema()
    storage.close()
