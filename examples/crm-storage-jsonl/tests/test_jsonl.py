from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Deal, Interaction, Money, Sale, User
from crm_core.errors import StorageError, StorageFull, UsageError
from crm_core.extend import Storage, Update
from crm_core.records.schema import AddType
from crm_core.testing import PluginContract, StorageContract
from crm_core.testing.tables import MANIFEST, thing
from crm_core.values import FixedClock
from crm_storage_jsonl import files, storage
from crm_storage_jsonl.plugin import open_jsonl
from crm_storage_jsonl.storage import JsonlStorage


class TestThePlugin(PluginContract):
    package = "crm_storage_jsonl"


class TestJsonl(StorageContract):
    def open(self, path: Path) -> Storage:
        return open_jsonl("jsonl:///data", {"directory": str(path)})


class TestJsonlCompactedAllTheTime(StorageContract):
    """The same with a log that is never worth keeping."""

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(storage, "_SMALL", 0)

    def open(self, path: Path) -> Storage:
        return JsonlStorage(path / "data")


def made(path: Path) -> JsonlStorage:
    opened = JsonlStorage(path / "data")
    if opened.schema() is None:
        opened.apply([AddType(table) for table in MANIFEST.tables.values()], MANIFEST)
    return opened


def add(one: Storage, *ids: int) -> None:
    one.begin()
    one.insert_many("things", MANIFEST.tables["things"].column_names, [thing(id_, name="سلام") for id_ in ids])
    one.commit()


def ids(one: Storage) -> list[object]:
    return [row[0] for row in one.find("things")]


def test_a_log_cut_anywhere_holds_the_transactions_before_the_cut(tmp_path: Path) -> None:
    one = made(tmp_path)
    log = next((tmp_path / "data").glob("log-*"))
    ends = [0]
    for id_ in (1, 2, 3):
        add(one, id_, id_ + 10)
        ends.append(log.stat().st_size)
    one.close()
    whole = log.read_bytes()
    for cut in range(len(whole) + 1):
        log.write_bytes(whole[:cut])
        count = sum(1 for end in ends if end <= cut) - 1
        again = JsonlStorage(tmp_path / "data")
        assert sorted([*range(1, count + 1), *range(11, count + 11)]) == ids(again)
        again.close()
    log.write_bytes(whole[:-5])
    again = JsonlStorage(tmp_path / "data")
    add(again, 7)  # over what the crash left
    again.close()
    assert [1, 2, 7, 11, 12] == ids(JsonlStorage(tmp_path / "data"))


def test_damage_before_the_end_is_told_and_never_read_over(tmp_path: Path) -> None:
    one = made(tmp_path)
    for id_ in (1, 2, 3):
        add(one, id_)
    one.close()
    for file in (next((tmp_path / "data").glob("log-*")), next((tmp_path / "data").glob("snapshot-*"))):
        whole = file.read_bytes()
        for place in range(0, len(whole.splitlines(keepends=True)[0]), 7):
            changed = bytearray(whole)
            changed[place] ^= 4
            file.write_bytes(changed)
            with pytest.raises(StorageError, match="damaged"):
                JsonlStorage(tmp_path / "data")
        file.write_bytes(whole)
    assert [1, 2, 3] == ids(JsonlStorage(tmp_path / "data"))


def test_what_a_crash_left_may_be_written_over_while_it_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    lines = [files.line_of([number]) for number in range(3)]
    log.write_bytes(lines[0] + lines[1][:-4] + b"\n" + lines[2])  # the half of a line, and what came over its end
    reading = files.read_log(log, 0)
    assert ([0], len(lines[0])) == next(reading)
    log.write_bytes(b"".join(lines))
    assert [] == list(reading)
    assert [[0], [1], [2]] == [content for content, _ in files.read_log(log, 0)]


STOPPED = """
import os, sys
from pathlib import Path
from crm_core.testing.tables import MANIFEST, thing
from crm_core.values import FixedClock
from crm_storage_jsonl import files, storage
place, stop = Path(sys.argv[1]), int(sys.argv[2])
steps = 0

def counted(function):
    def call(*arguments, **options):
        global steps
        steps += 1
        if steps == stop:
            os._exit(9)
        return function(*arguments, **options)
    return call

one = storage.JsonlStorage(place)
storage._SMALL = 0
Path.unlink, Path.replace = counted(Path.unlink), counted(Path.replace)
files.os.fsync, files.write_snapshot = counted(os.fsync), counted(files.write_snapshot)
for id_ in range(100, 130):
    one.begin()
    one.insert_many("things", MANIFEST.tables["things"].column_names, [thing(id_)])
    one.commit()
    print(id_, flush=True)
"""


def test_a_process_that_stops_at_any_step_of_a_compaction_loses_nothing(tmp_path: Path) -> None:
    codes = set()
    for stop in range(1, 25):
        place = tmp_path / str(stop)
        one = made(place)
        add(one, 1)
        one.close()
        command = [sys.executable, "-c", STOPPED, str(place / "data"), str(stop)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        codes.add(done.returncode)
        acknowledged = [1, *map(int, done.stdout.split())]
        found = ids(JsonlStorage(place / "data"))
        assert acknowledged == found[: len(acknowledged)]
        assert len(found) <= len(acknowledged) + 1
    assert {9} == codes


def test_a_disk_that_is_full_keeps_nothing_of_the_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(tmp_path)
    add(one, 1)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageFull):
        add(one, 2)
    monkeypatch.undo()
    assert [1] == ids(one)
    add(one, 3)
    one.close()
    assert [1, 3] == ids(JsonlStorage(tmp_path / "data"))


def test_what_one_process_commits_others_see(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path)
    add(first, 1)
    assert [1] == ids(second)
    second.begin()
    assert [] == second.update_if_version("things", [Update(1, 1, {"size": 5})])
    second.commit()
    first.begin()
    assert [1] == first.update_if_version("things", [Update(1, 1, {"size": 6})])
    first.rollback()
    first.begin(write=False)
    add(second, 2)
    assert [1] == ids(first)
    first.rollback()
    assert [1, 2] == ids(first)


INCREMENT = """
import sys
from pathlib import Path
from crm_core.extend import Update
from crm_storage_jsonl.storage import JsonlStorage
opened = JsonlStorage(Path(sys.argv[1]))
for _ in range(100):
    done = False
    while not done:
        ((version, size),) = opened.find("things", columns=["version", "size"])
        opened.begin()
        done = not opened.update_if_version("things", [Update(1, version, {"size": size + 1})])
        opened.commit()
"""


def test_no_update_is_lost_between_processes(tmp_path: Path) -> None:
    one = made(tmp_path)
    one.begin()
    one.insert_many("things", MANIFEST.tables["things"].column_names, [thing(1, size=0)])
    one.commit()
    command = [sys.executable, "-c", INCREMENT, str(tmp_path / "data")]
    processes = [subprocess.Popen(command) for _ in range(4)]
    assert [0] * 4 == [process.wait() for process in processes]
    assert [thing(1, version=401, size=400)] == one.find("things")


def test_the_files_are_text_that_people_can_read(tmp_path: Path) -> None:
    one = made(tmp_path)
    add(one, 1)
    line = next((tmp_path / "data").glob("log-*")).read_text("utf-8")
    assert "سلام" in line
    assert "insert_many" == json.loads(line[9:])[0][0]


def test_a_workspace_runs_on_it(tmp_path: Path) -> None:
    with CRM.open(f"jsonl:///{tmp_path}/team") as crm:
        ada = crm.customers.add(Customer(name="Ada"), email="ada@example.org")
        deal = crm.deals.add(Deal(customer_id=ada.id, title="Licence", amount=Money("1200", "EUR")))
        crm.deals.move(deal, "won")
        mistake = crm.customers.add(Customer(name="Twice"))
        crm.ledger.undo(crm.ledger.resolve("last"))
        assert 0 == len(crm.customers.find(f'name = "{mistake.name}"'))
    with CRM.open(f"jsonl:///{tmp_path}/team") as crm:
        assert ["Ada"] == [one.name for one in crm.customers.find()]
        assert [1200] == [row.value for row in crm.metrics.compute("revenue")]


DAY = date(2026, 1, 5)


def stock(crm: CRM) -> None:
    """Give a CRM customers, deals, sales and messages that leave no metric without something to count."""
    users = [crm.users.add(User(name=name)) for name in ("Sara", "Արամ")]
    for n in range(24):
        first = DAY + timedelta(days=9 * n)
        one = crm.customers.add(Customer(name=f"C{n}", owner_id=users[n % 2].id, source="web", first_contact_at=first))
        deal = crm.deals.add(
            Deal(customer_id=one.id, title="d", amount=Money(100 + n, "EUR"), owner_id=users[n % 2].id, opened_at=first)
        )
        if n % 3:
            crm.deals.move(deal, ("won", "lost")[n % 3 - 1], at=first + timedelta(days=n))
        for k in range(n % 4):
            sold = first + timedelta(days=30 * k)
            sale = crm.sales.add(Sale(customer_id=one.id, amount=Money(10 * n + k, "EUR"), sold_at=sold))
            if k == 2:
                crm.sales.refund(sale, Money(3, "EUR"), at=sold + timedelta(days=2))
        crm.interactions.add(Interaction(customer_id=one.id, kind="call", topic="complaint", occurred_at=first))


def answers(crm: CRM) -> dict[str, object]:
    """Every metric that any plugin brings, by month and by owner where it can be, and every segment."""
    found: dict[str, object] = {}
    for metric in crm.metrics.all():
        for name, options in {"": {}, " monthly": {"series": "month"}, " by owner": {"by": "owner"}}.items():
            try:
                rows = crm.metrics.compute(metric.name, period="2026", **options)
                found[metric.name + name] = [
                    (
                        row.value,
                        row.numerator,
                        row.denominator,
                        str(row.undefined),
                        [g.label for g in row.group.values()],
                    )
                    for row in rows
                ]
            except UsageError as error:
                found[metric.name + name] = error.message
    for segment in crm.segments.all():
        result = crm.segments.run(segment.name).to_json()
        members = [(one["name"], one["label"], str(one["score"])) for one in result["members"]]
        found[segment.name] = [result["summary"], members]
    return found


@pytest.mark.database("sqlite")
def test_every_metric_and_segment_says_the_same_as_on_sqlite(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 11, 30, tzinfo=UTC))
    found = []
    for url in (f"jsonl:///{tmp_path}/team", f"sqlite:///{tmp_path}/team.db"):
        with CRM.open(url, clock=clock) as crm:
            stock(crm)
        with CRM.open(url, clock=clock) as crm:
            found.append(answers(crm))
    assert len(found[0]) > 60
    assert found[1] == found[0]


def test_a_team_works_on_it_by_commands(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "crm_core", "-w", str(tmp_path / "shop"), *arguments, "--json"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    subprocess.run(
        [sys.executable, "-m", "crm_core", "init", str(tmp_path / "shop"), "--storage", "jsonl:///data"], check=True
    )
    assert 0 == run("customers", "add", "سارا احمدی").returncode
    assert 0 == run("storage", "backup", str(tmp_path / "b.crm")).returncode
    assert 0 == run("customers", "add", "Ada").returncode
    assert 2 == run("storage", "restore", str(tmp_path / "b.crm")).returncode
    assert 0 == run("storage", "restore", str(tmp_path / "b.crm"), "--force").returncode
    assert ["سارا احمدی"] == [one["name"] for one in json.loads(run("customers", "list").stdout)]
    assert json.loads(run("storage", "verify").stdout)["sound"]
    whole = (tmp_path / "b.crm").read_bytes()
    (tmp_path / "b.crm").write_bytes(whole[:-3] + b"\x00" + whole[-2:])
    assert 1 == run("storage", "restore", str(tmp_path / "b.crm"), "--force").returncode
