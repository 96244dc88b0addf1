"""Jobs: each part by one worker at a time, each with its own back-off, one that fails or hangs stopping no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, hookimpl
from crm_core.errors import TryLater
from crm_core.extend import Job, JobDone, JobRun
from crm_core.ledger.leases import PAUSES
from crm_core.ledger.tables import JOBS
from tests.cli.calling import Crm
from tests.databases import DATABASES
from tests.opening import url_for


class Chores:
    """A plugin with one job; `work` is what a part does, `waits` whether there is anything to do."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {"a": 60.0, "b": 60.0}
        self.done: list[str] = []
        self.work: Callable[[JobRun], Any] = lambda run: JobDone(told=f"did {run.part}")
        self.waits = True

    @hookimpl
    def register_jobs(self) -> Iterable[Job]:
        def run(job: JobRun) -> Any:
            self.done.append(job.part)
            return self.work(job)

        return [Job(name="tidy", help="", parts=lambda crm: self.parts, run=run, waiting=lambda crm, part: self.waits)]


def make_due(crm: CRM) -> None:
    """Let the pauses be over."""
    place = JOBS.column_names.index("next_at")
    rows = [(*row[:place], 0, *row[place + 1 :]) for row in crm.storage.find(JOBS.name)]
    crm.storage.begin()
    crm.storage.put_many(JOBS.name, JOBS.column_names, rows)
    crm.storage.commit()


def test_a_part_is_done_when_it_is_due_and_leaves_no_trace_in_the_ledger() -> None:
    chores = Chores()
    with CRM.open("memory:", plugins=[chores]) as crm:
        head = crm.ledger.history.head()
        assert ["did a", "did b"] == [one.told for one in crm.jobs.run()]
        assert [] == crm.jobs.run()
        make_due(crm)
        crm.jobs.run()
        assert ["a", "b", "a", "b"] == chores.done
        assert head == crm.ledger.history.head()
        assert all(one.last_success_at and not one.error for one in crm.jobs.standing())


def test_one_that_fails_is_tried_again_ever_later_and_stops_no_other() -> None:
    chores = Chores()

    def fail(run: JobRun) -> JobDone:
        if run.part == "a":
            raise ValueError("سرور خاموش است")
        return JobDone()

    chores.work = fail
    with CRM.open("memory:", plugins=[chores]) as crm:
        waits = []
        for _ in range(len(PAUSES) + 1):
            failed, _fine = crm.jobs.run()
            waits.append(failed.again_in)
            make_due(crm)
        assert [*map(float, PAUSES), float(PAUSES[-1])] == waits
        first, second = sorted(crm.jobs.standing(), key=lambda one: one.part)
        assert ("an unexpected ValueError: سرور خاموش است", 4) == (first.error, first.attempts)
        assert ("", 0, None) == (second.error, second.attempts, first.last_success_at)
        chores.work = lambda run: JobDone()
        crm.jobs.run()
        assert ["", ""] == [one.error for one in crm.jobs.standing()]


def test_what_is_wrong_although_the_work_was_done_is_told_once_and_shown_until_it_is_over() -> None:
    chores = Chores()
    chores.parts, troubles = {"a": 60.0}, ["a folder is gone", "a folder is gone", "two are", "", ""]
    left = iter(troubles)
    chores.work = lambda run: JobDone(told="did a", trouble=next(left))
    with CRM.open("memory:", plugins=[chores]) as crm:
        told = []
        for trouble in troubles:
            told += [(each.told, each.error, each.again_in) for each in crm.jobs.run()]
            (standing,) = crm.jobs.standing()
            assert (trouble, 0) == (standing.error, standing.attempts)
            assert standing.last_success_at is not None
            make_due(crm)
        wanted = ["a folder is gone", "", "two are", "", ""]
        assert [("did a", each, None) for each in wanted] == told


def test_the_delay_that_a_service_asks_for_is_kept_and_a_part_may_name_its_own_pause() -> None:
    chores = Chores()
    chores.parts = {"a": 60.0}
    with CRM.open("memory:", plugins=[chores]) as crm:
        chores.work = lambda run: (_ for _ in ()).throw(TryLater("slow down", delay=120))
        assert [120.0] == [one.again_in for one in crm.jobs.run()]
        make_due(crm)
        chores.work = lambda run: JobDone(again_in=0)
        for _ in range(3):
            crm.jobs.run()
        assert 4 == len(chores.done)


def test_where_nothing_waits_nothing_is_written_and_a_wrong_answer_is_named() -> None:
    chores = Chores()
    chores.waits = False
    with CRM.open("memory:", plugins=[chores]) as crm:
        assert ([], []) == (crm.jobs.run(), crm.jobs.standing())
        chores.waits, chores.work = True, lambda run: None
        assert "returned NoneType, expected JobDone" in crm.jobs.run()[0].error


def test_who_has_much_to_do_is_asked_to_end_before_the_deadline_ends_it_by_force() -> None:
    chores = Chores()
    chores.parts = {"a": 0.0}

    def work(run: JobRun) -> JobDone:
        ends = time.monotonic() + 20
        while not run.stopping() and time.monotonic() < ends:
            time.sleep(0.01)
        return JobDone(told="in time" if time.monotonic() < ends else "never", again_in=0)

    chores.work = work
    with CRM.open("memory:", plugins=[chores]) as crm:
        crm.jobs.leases.patience = 0.1
        assert [("in time", "")] == [(one.told, one.error) for one in crm.jobs.run()]


def test_who_comes_behind_a_busy_part_is_the_first_the_next_time() -> None:
    chores = Chores()
    chores.parts = {"a": 0.0, "b": 0.0}
    with CRM.open("memory:", plugins=[chores]) as crm:
        for _ in range(4):
            before = len(chores.done)
            crm.jobs.run(lambda before=before: len(chores.done) > before)  # type: ignore[misc]
        assert ["a", "b", "a", "b"] == chores.done


@pytest.mark.parametrize("database", DATABASES)
def test_a_part_is_done_by_one_worker_at_a_time(database: Any, tmp_path: Path) -> None:
    first, second = Chores(), Chores()
    with url_for(str(database), tmp_path) as url, CRM.open(url, plugins=[first]) as one:
        first.parts = second.parts = {"a": 0.0}
        with CRM.open(url, plugins=[second]) as other:
            first.work = lambda run: other.jobs.run() or JobDone()
            one.jobs.run()
            assert (["a"], []) == (first.done, second.done)
            other.jobs.run()
            assert ["a"] == second.done


JOB = """
import os, time
from pathlib import Path
from crm_core import hookimpl
from crm_core.extend import Job, JobDone

def work(run):
    if run.part == "hangs":
        time.sleep(1000)
    if run.part == "crashes":
        os._exit(3)
    return JobDone(told="done")

@hookimpl
def register_jobs():
    return [Job(name="tidy", help="", parts=lambda crm: {"hangs": 60.0, "crashes": 60.0, "works": 60.0}, run=work)]
"""


@pytest.mark.database("sqlite")
def test_one_that_hangs_or_crashes_meets_its_deadline_and_the_others_are_done(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(crm.directory)
    (crm.directory / "chores.py").write_text(JOB, "utf-8")
    with (crm.directory / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[plugins]\npaths = ["./chores.py"]\n')
    begun = time.monotonic()
    told = crm("run", "--once", "--deadline", "0.5", "--json")
    assert 1 == told.code, told
    said = told.json
    assert time.monotonic() - begun < 30
    errors = {one["part"]: one["error"] for one in said["jobs"] if one["error"]}
    assert {"hangs", "crashes"} == set(errors)
    assert "longer than its deadline" in errors["hangs"]
    assert "exit code 3" in errors["crashes"]
    assert ["works"] == [one["part"] for one in said["jobs"] if one["told"]]
