"""`crm run`: processes that share the work, meet deadlines, end when asked, and lose nothing when they are killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from crm_core import CRM, Customer
from crm_core.errors import CrmError, StorageError
from crm_core.ledger.leases import Cursor
from crm_core.ledger.telling import DeliveryReport, Told
from crm_core.upkeep import Trouble, Workers
from crm_core.upkeep.worker import Line, Orders, work
from tests.cli.calling import Crm

HOOKS = """
import os, time
from pathlib import Path
from crm_core import hookimpl

@hookimpl
def on_customers_changed(event):
    for change in event.changes:
        name = change.record.name
        if name == "hang" and not Path("calm").exists():
            time.sleep(1000)
        if name == "crash" and not Path("calm").exists():
            os._exit(0)
        if name == "fail" and not Path("calm").exists():
            raise ValueError("mail server away: سرور")
        print("printed by a plugin")
        with open("told", "a", encoding="utf-8") as told:
            told.write(f"{event.position} {name}\\n")
        time.sleep(0.002)
"""
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "CRM_WORKSPACE"}
posix = pytest.mark.skipif(os.name == "nt", reason="NOT RUN: signals are those of POSIX")
pytestmark = pytest.mark.database("sqlite")


@pytest.fixture
def listening(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> Crm:
    """A workspace with hooks of its own, whose cursors begin at the empty ledger."""
    monkeypatch.chdir(crm.directory)
    (crm.directory / "hooks.py").write_text(HOOKS.replace('"told"', repr(str(crm.directory / "told"))), "utf-8")
    with (crm.directory / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[plugins]\npaths = ["./hooks.py"]\n')
    crm.ok("run", "--once")
    return crm


def add(crm: Crm, *names: str) -> None:
    """Add customers without telling the workspace's own hooks."""
    with CRM.open(f"sqlite:///{crm.directory}/crm.db") as opened:
        for name in names:
            opened.customers.add(Customer(name=name))


def told(crm: Crm) -> list[str]:
    place = crm.directory / "told"
    return place.read_text("utf-8").splitlines() if place.exists() else []


def cursor(crm: Crm) -> Cursor:
    with CRM.open(f"sqlite:///{crm.directory}/crm.db") as opened:
        (found,) = [one for one in opened.ledger.delivery.cursors() if one.plugin == "hooks"]
        return found


def no_pauses(crm: Crm) -> None:
    with CRM.open(f"sqlite:///{crm.directory}/crm.db") as opened:
        found = opened.ledger.delivery.cursors()
        for one in found:
            one.next_at = 0
        opened.ledger.delivery.leases.save(found)


@contextmanager
def daemon(crm: Crm, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start `crm run` in a process group of its own; whatever is left of it is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "crm_core", "-w", str(crm.directory), "run", "--every", "0.05", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def test_once_tells_what_is_due_and_ends(listening: Crm) -> None:
    add(listening, "Ada", "سارا")
    said = listening.ok("run", "--once")
    assert ["1 Ada", "2 سارا"] == told(listening)
    assert "hooks.on_customers_changed: told of 2 transactions, up to position 2" in said.out
    assert "2 transactions told, 0 failures" in said.out
    assert (2, None) == (cursor(listening).position, cursor(listening).lease)


def test_once_prints_one_document_for_programs(listening: Crm) -> None:
    add(listening, "Ada", "fail", "Bob")
    said = listening("run", "--once", "--json")
    assert 1 == said.code
    assert 1 == said.json["delivered"]
    assert [{"plugin": "hooks", "hook": "on_customers_changed", "transactions": 1, "position": 1}] == said.json["told"]
    (failure,), (waiting,) = said.json["failures"], said.json["waiting"]
    assert (2, 1, 1) == (failure["position"], failure["attempts"], failure["again_in"])
    assert "mail server away: سرور" in failure["error"]
    assert (1, 2, 1, []) == tuple(waiting[name] for name in ("position", "behind", "attempts", "parked"))


def test_a_workspace_in_which_nobody_listens_says_so(crm: Crm) -> None:
    (crm.directory / "crm.toml").write_text(
        (crm.directory / "crm.toml").read_text("utf-8") + '\n[plugins]\ndisabled = ["demo", "kpi", "products"]\n',
        "utf-8",
    )
    assert "no plugin listens" in crm.ok("run", "--once").out


def test_a_workspace_that_cannot_be_opened_is_an_error_without_a_traceback(listening: Crm) -> None:
    (listening.directory / "crm.db").write_bytes(b"no database" * 1000)
    said = listening.process("run", "--once", "--json")
    assert (1, "NotADatabase") == (said.code, said.error["type"])
    assert "Traceback" not in said.err
    said = listening.process("run")
    assert 1 == said.code
    assert "Traceback" not in said.err


def test_what_fails_is_given_up_on_and_shown_and_told_again_on_request(listening: Crm) -> None:
    add(listening, "fail", "Bob")
    for _ in range(5):
        assert 1 == listening("run", "--once").code
        no_pauses(listening)
    assert ["2 Bob"] == told(listening)
    shown = [
        listening("run", "--once").out,
        listening.ok("plugins", "explain", "hooks").out,
        listening.ok("doctor").out,
    ]
    for text in shown:
        assert "1 transaction given up on" in text
        assert "mail server away: سرور" in text
        assert "crm plugins retry hooks" in text
    (standing,) = listening.ok("plugins", "explain", "hooks", "--json").json["deliveries"]
    assert [1] == [one["position"] for one in standing["parked"]]
    assert 1 == listening("plugins", "retry", "hooks").code
    (listening.directory / "calm").touch()
    assert "1 transaction told, 0 failures" in listening.ok("plugins", "retry", "hooks").out
    assert ["2 Bob", "1 fail"] == told(listening)
    assert "given up on" not in listening.ok("doctor").out
    assert 1 == listening("plugins", "retry", "hooks").code, "there is nothing any more"


def test_what_was_given_up_on_is_let_go_after_a_question(listening: Crm) -> None:
    add(listening, "fail")
    for _ in range(5):
        listening("run", "--once")
        no_pauses(listening)
    assert 0 != listening("plugins", "retry", "hooks", "--forget").code
    assert {"forgotten": 1} == listening.ok("plugins", "retry", "hooks", "--forget", "--yes", "--json").json
    assert "given up on" not in listening.ok("doctor").out


@pytest.mark.parametrize(("name", "why"), [("hang", "deadline of 0.5 s"), ("crash", "exit code 0")])
def test_a_plugin_that_hangs_or_crashes_loses_its_call_alone(listening: Crm, name: str, why: str) -> None:
    add(listening, "Ada", name, "Bob")
    said = listening("run", "--once", "--deadline", "0.5")
    assert 1 == said.code
    assert why in said.out
    assert "1 transaction told, 1 failure" in said.out
    assert (1, 1, None) == (cursor(listening).position, cursor(listening).attempts, cursor(listening).lease)
    for _ in range(4):
        no_pauses(listening)
        listening("run", "--once", "--deadline", "0.5")
    assert ["1 Ada", "3 Bob"] == told(listening)
    failures: list[Any] = []
    report = Workers(listening.directory, once=True, retry="hooks", deadline=0.5, tell=failures.append).run()
    assert (0, 1) == (report.delivered, report.failures)
    assert (3, 0) == (cursor(listening).position, cursor(listening).attempts), "what came after is not held up"
    (listening.directory / "calm").touch()
    listening.ok("plugins", "retry", "hooks")
    assert ["1 Ada", "3 Bob", f"2 {name}"] == told(listening)


@posix
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_is_killed_before_any_was_ready_is_started_again_a_few_times(
    listening: Crm, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crm_core.upkeep.workers._KILLED_AT_FIRST", 1)
    add(listening, "Ada")
    births = listening.directory / "births"
    with (listening.directory / "hooks.py").open("a", encoding="utf-8") as hooks:
        hooks.write(f"""
with open({str(births)!r}, "a") as file:
    file.write("x")
if len(Path({str(births)!r}).read_text()) <= {times}:
    os.kill(os.getpid(), 9)
""")
    said: list[Any] = []

    def tell(news: Any) -> None:
        said.append(news)
        if isinstance(news, Told):
            crew.stop()

    crew = Workers(listening.directory, every=0.05, tell=tell)
    if times > 1:
        with pytest.raises(CrmError, match="its worker ended by signal 9"):
            crew.run()
        assert [] == told(listening)
    else:
        crew.run()
        assert ["1 Ada"] == told(listening)
        assert ["its worker ended by signal 9"] == [one.text for one in said if isinstance(one, Trouble)]


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_daemon_tells_what_comes_and_ends_when_it_is_asked(listening: Crm, number: int, code: int) -> None:
    with daemon(listening, "--json") as process:
        for turn in range(1, 4):
            add(listening, f"C{turn}")
            wait_until(lambda turn=turn: turn == len(told(listening)))
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
        assert code == process.returncode
    lines = [json.loads(line) for line in out.splitlines()]
    kinds = [line["kind"] for line in lines]
    assert ("started", "ended") == (kinds[0], kinds[-1])
    assert ["ending", "told", "told", "told"] == sorted(kinds[1:-1]), "the last may be told while it ends"
    assert 3 == lines[-1]["delivered"]
    assert (3, None) == (cursor(listening).position, cursor(listening).lease)


@posix
def test_a_second_signal_ends_a_call_that_hangs_and_the_next_daemon_takes_over(listening: Crm) -> None:
    add(listening, "hang")
    with daemon(listening) as process:
        wait_until(lambda: cursor(listening).lease is not None)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None, "it waits for what is under way"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
        assert 130 == process.returncode
    (listening.directory / "calm").touch()
    listening.ok("run", "--once")
    assert ["1 hang"] == told(listening)


def test_a_database_that_is_away_for_a_while_is_waited_for(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    said, stop = io.StringIO(), Event()
    answers: list[DeliveryReport | StorageError] = [
        StorageError("the server cannot be reached", hint="is it up?"),
        StorageError("the server cannot be reached", hint="is it up?"),
        DeliveryReport(delivered=0, told=(), failures=()),
    ]

    def deliver(seconds: float) -> DeliveryReport:
        answer = answers.pop(0)
        if isinstance(answer, StorageError):
            raise answer
        stop.set()
        return answer

    orders = Orders(place="", is_directory=True, user=None, name="w#1", every=0.01, once=False, patience=1)
    with CRM.open(crm.directory) as opened:
        monkeypatch.setattr(opened.ledger, "deliver", deliver)
        work(opened, orders, Line(said), stop)
    kinds = [json.loads(line)["kind"] for line in said.getvalue().splitlines()]
    assert ["ready", "trouble", "trouble", "round"] == kinds


@posix
def test_two_of_which_one_is_killed_time_and_again_lose_nothing(listening: Crm) -> None:
    names = [f"M{number}" for number in range(120)]
    add(listening, *names)
    kills = 0
    with daemon(listening, "--workers", "2"):
        for share in range(10, 120, 25):
            with daemon(listening) as victim:
                wait_until(lambda share=share: len(told(listening)) >= share)
                victim.kill()
                kills += 1
        add(listening, "last")
        wait_until(lambda: "121 last" in told(listening))
    found = Counter(told(listening))
    assert [f"{at} {name}" for at, name in enumerate([*names, "last"], 1)] == list(found)
    assert found.total() - len(found) <= kills + 1


@posix
def test_workers_end_when_who_started_them_is_gone(listening: Crm) -> None:
    with daemon(listening) as process:
        add(listening, "Ada")
        wait_until(lambda: ["1 Ada"] == told(listening))
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
        (child,) = map(int, children.stdout.split())
        process.kill()
        process.wait()
        wait_until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
