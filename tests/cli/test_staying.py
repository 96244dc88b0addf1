"""Parts of jobs that stay at work: a thread each, one that hangs or fails keeping no other waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from io import StringIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from crm_core import CRM, hookimpl
from crm_core.errors import CrmError, TryLater
from crm_core.extend import Job, JobDone, JobRun
from crm_core.services import staying
from crm_core.services.jobs import JobOutcome, JobStanding
from crm_core.upkeep.worker import Line, Orders
from crm_core.upkeep.worker import work as work_on
from tests.databases import DATABASES
from tests.opening import url_for

from .calling import Crm
from .test_jobs import make_due
from .test_run import daemon, posix, wait_until


class Listeners:
    """A plugin with one job whose parts stay at work; `work` is what a part does."""

    def __init__(self, *parts: str) -> None:
        self.parts = dict.fromkeys(parts, 0.2)
        self.begun: list[str] = []
        self.work: Callable[[JobRun], JobDone] = stay

    @hookimpl
    def register_jobs(self) -> Iterable[Job]:
        def run(job: JobRun) -> JobDone:
            self.begun.append(job.part)
            return self.work(job)

        return [
            Job(name="hear", help="", parts=lambda crm: self.parts, run=run, stays=lambda crm, part: part != "ends")
        ]


def stay(run: JobRun) -> JobDone:
    """Tell something again and again, until it is to stop."""
    while run.stays and not run.stopping():
        run.note(JobDone(told=f"heard {run.part}"))
        time.sleep(0.02)
    return JobDone(told=f"did {run.part}")


def until(crm: CRM, enough: Callable[[list[JobOutcome]], object], seconds: float = 20.0) -> list[JobOutcome]:
    """Run as a worker does, until what it told is enough."""
    found: list[JobOutcome] = []
    ends = time.monotonic() + seconds
    while not enough(found):
        assert time.monotonic() < ends, found
        found += crm.jobs.run(lasting=True)
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("database", DATABASES)
def test_a_part_stays_with_one_worker_until_that_ends_and_then_with_another(database: Any, tmp_path: Path) -> None:
    first, second = Listeners("a", "ends"), Listeners("a", "ends")
    with url_for(str(database), tmp_path) as url, CRM.open(url, plugins=[first]) as one:
        until(one, lambda found: sum(each.told == "heard a" for each in found) > 2)
        with CRM.open(url, plugins=[second]) as other:
            for _ in range(5):
                other.jobs.run(lasting=True)
                time.sleep(0.05)
            assert "a" not in second.begun, "another worker has it"
            (standing,) = [each for each in other.jobs.standing() if each.part == "a"]
            assert (True, "") == (standing.running, standing.error)
            assert standing.last_success_at is not None
            told = one.jobs.staying.end()
            assert "did a" == told[-1].told
            until(other, lambda found: any(each.told == "heard a" for each in found))
            other.jobs.staying.end()
        assert 1 == first.begun.count("a")
        assert first.begun.count("ends") > 0


def test_one_that_hangs_stops_no_other_and_is_begun_anew_beside_itself() -> None:
    plugin, release = Listeners("hangs", "works"), Event()

    def work(run: JobRun) -> JobDone:
        if run.part == "hangs" and plugin.begun.count("hangs") == 1:
            release.wait(30)
            run.note(JobDone(told="too late"))
            return JobDone(told="too late")
        return stay(run)

    plugin.work = work
    with CRM.open("memory:", plugins=[plugin]) as crm:
        crm.jobs.leases.patience = 0.3
        found = until(crm, lambda found: any(each.error for each in found))
        assert any("heard works" == each.told for each in found)
        (error,) = [each for each in found if each.error]
        assert "hangs" == error.part
        assert "no sign of life" in error.error
        again = until(crm, lambda found: any(each.told == "heard hangs" for each in found))
        release.set()
        again += until(crm, lambda found: sum(each.told == "heard hangs" for each in found) > 5)
        assert not any("too late" in each.told for each in again), "its lease is gone"
        crm.jobs.staying.end()
        assert 2 == plugin.begun.count("hangs")
        assert 1 == plugin.begun.count("works")
        assert not any(each.running for each in crm.jobs.standing())


def test_one_that_breaks_off_again_and_again_is_tried_ever_later() -> None:
    plugin = Listeners("a")

    def work(run: JobRun) -> JobDone:
        run.note(JobDone(told="connected"))
        raise TryLater("hung up")

    plugin.work = work
    with CRM.open("memory:", plugins=[plugin]) as crm:
        waits: list[float | None] = []
        for _ in range(3):
            waits += [each.again_in for each in until(crm, lambda found: any(e.error for e in found)) if each.error]
            make_due(crm)
        assert [1.0, 10.0, 60.0] == waits
        assert "hung up" == crm.jobs.standing()[0].error
        crm.jobs.staying.end()


def test_an_end_waits_for_what_is_under_way_and_leaves_behind_what_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staying, "_GRACE", 1.0)
    plugin, finished = Listeners("finishes", "hangs"), list[str]()

    def work(run: JobRun) -> JobDone:
        if run.part == "hangs":
            Event().wait(60)
        while not run.stopping():
            time.sleep(0.01)
        time.sleep(0.3)
        finished.append(run.part)
        return JobDone(told="finished")

    plugin.work = work
    with CRM.open("memory:", plugins=[plugin]) as crm:
        crm.jobs.run(lasting=True)
        until(crm, lambda found: len(plugin.begun) == 2)
        begun = time.monotonic()
        told = crm.jobs.staying.end()
        assert (["finished"], ["finishes"]) == ([each.told for each in told], finished)
        assert time.monotonic() - begun < 5
        assert not any(each.running for each in crm.jobs.standing()), "the lease of the one that hangs is given back"


class Doers(Listeners):
    """A plugin with one job whose parts are done apart."""

    @hookimpl
    def register_jobs(self) -> Iterable[Job]:
        def run(job: JobRun) -> JobDone:
            self.begun.append(job.part)
            return self.work(job)

        return [Job(name="do", help="", parts=lambda crm: self.parts, run=run, apart=True)]


@pytest.mark.parametrize("database", DATABASES)
def test_one_that_is_slow_keeps_no_other_waiting_and_is_done_by_one_worker(database: Any, tmp_path: Path) -> None:
    plugin, second, release = Doers("slow", "quick"), Doers("slow", "quick"), Event()

    def work(run: JobRun) -> JobDone:
        if run.part == "slow":
            assert release.wait(60)
        return JobDone(told=f"did {run.part}")

    plugin.work = second.work = work
    with url_for(str(database), tmp_path) as url, CRM.open(url, plugins=[plugin]) as crm:
        found = until(crm, lambda found: sum(each.told == "did quick" for each in found) > 2)
        assert "slow" in plugin.begun
        assert not any(each.part == "slow" for each in found)
        with CRM.open(url, plugins=[second]) as other:
            until(other, lambda found: any(each.told == "did quick" for each in found))
            assert "slow" not in second.begun, "another worker is at it"
            other.jobs.staying.end()
        release.set()
        found = until(crm, lambda found: sum(each.told == "did slow" for each in found) > 1)
        assert not any(each.error for each in found)
        crm.jobs.staying.end()
        assert not any(each.running for each in crm.jobs.standing())


def test_one_with_much_to_do_tells_of_it_on_the_way_and_ends_when_it_is_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(staying, "_SLICE", 0.05)
    plugin = Doers("much")

    def work(run: JobRun) -> JobDone:
        while not run.stopping():
            time.sleep(0.01)
        return JobDone(told="some of it", again_in=0)

    plugin.work = work
    with CRM.open("memory:", plugins=[plugin]) as crm:
        crm.jobs.run(lasting=True)
        (thread,) = crm.jobs.staying._stays
        until(crm, lambda found: sum(each.told == "some of it" for each in found) > 3)
        assert [thread] == crm.jobs.staying._stays, "it goes on where it is"
        assert "some of it" == crm.jobs.staying.end()[-1].told
        assert not thread.is_alive()


def test_an_end_waits_for_one_that_is_done_apart_as_long_as_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staying, "_GRACE", 0.0)
    plugin, sending = Doers("sends"), Event()

    def work(run: JobRun) -> JobDone:
        sending.set()
        time.sleep(0.5)
        return JobDone(told="sent")

    plugin.work = work
    with CRM.open("memory:", plugins=[plugin]) as crm:
        crm.jobs.run(lasting=True)
        assert sending.wait(20)
        assert ["sent"] == [each.told for each in crm.jobs.staying.end()]


def test_a_worker_in_which_a_part_hangs_again_and_again_ends_to_be_started_again() -> None:
    plugin, release, over = Doers("hangs", "works"), Event(), Event()

    def work(run: JobRun) -> JobDone:
        if run.part == "hangs":
            release.wait(60)
        return JobDone(told=f"did {run.part}")

    def hasten() -> None:
        while not over.wait(0.05):
            make_due(crm)

    plugin.work = work
    with CRM.open("memory:", plugins=[plugin]) as crm:
        orders = Orders(place="", is_directory=False, user=None, name="a#1", every=0.01, once=False, patience=0.2)
        hurry = Thread(target=hasten)
        hurry.start()
        told = StringIO()
        try:
            with pytest.raises(CrmError, match="do hangs hangs again and again"):
                work_on(crm, orders, Line(told), Event())
        finally:
            over.set()
            release.set()
            hurry.join()
        assert 3 == plugin.begun.count("hangs")
        assert "did works" in told.getvalue()


def exit_at_once(run: JobRun) -> JobDone:
    raise SystemExit("a library that ends what it is in")


@pytest.mark.parametrize("kind", [Listeners, Doers])
def test_one_that_means_to_end_its_process_ends_itself_with_its_reason_and_is_tried_ever_later(
    kind: type[Listeners],
) -> None:
    plugin = kind("a")
    plugin.work = exit_at_once
    with CRM.open("memory:", plugins=[plugin]) as crm:
        waits: list[float | None] = []
        for _ in range(3):
            waits += [each.again_in for each in until(crm, lambda found: any(e.error for e in found)) if each.error]
            make_due(crm)
        assert [1.0, 10.0, 60.0] == waits
        assert "SystemExit: a library that ends what it is in" in crm.jobs.standing()[0].error
        crm.jobs.staying.end()


CRASHING = """
import os, signal, time
from pathlib import Path
from crm_core import hookimpl
from crm_core.extend import Job, JobDone

PLACE = Path(__file__).parent

def run(job):
    with (PLACE / "begun").open("a") as file:
        file.write(job.part + "\\n")
    if job.part == "crashes":
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    if job.part == "stays":
        while not job.stopping():
            job.note(JobDone())
            time.sleep(0.02)
    return JobDone()

@hookimpl
def register_jobs():
    parts = {"stays": 0.5, "crashes": 0.05, "works": 0.05}
    stays = lambda crm, part: part == "stays"
    return [Job(name="do", help="", parts=lambda crm: parts, run=run, stays=stays, apart=True)]
"""


@posix
def test_one_that_ends_its_worker_again_and_again_waits_ever_longer_with_its_reason_and_stops_no_other(
    crm: Crm,
) -> None:
    (crm.directory / "crashing.py").write_text(CRASHING, "utf-8")
    with (crm.directory / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[plugins]\npaths = ["./crashing.py"]\n')
    begun = crm.directory / "begun"

    def count(part: str) -> int:
        return begun.read_text("utf-8").split().count(part) if begun.exists() else 0

    def standing(part: str) -> JobStanding:
        with CRM.open(crm.directory) as opened:
            return next(each for each in opened.jobs.standing() if each.part == part)

    with daemon(crm):
        wait_until(lambda: all(count(part) for part in ("stays", "crashes", "works")))
        wait_until(lambda: standing("crashes").attempts >= 2)
        found = standing("crashes")
        assert "its worker ended by signal 9 while it was at work" == found.error
        assert found.next_try_at is not None
        crashes, works = count("crashes"), count("works")
        wait_until(lambda: count("works") > works + 20)
        assert crashes == count("crashes"), "it waits while the others go on"
        wait_until(lambda: standing("stays").running and not any(standing(part).error for part in ("stays", "works")))
