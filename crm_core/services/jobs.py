"""Jobs: work that `crm run` does again and again, each part by one worker at a time, each with its own back-off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from crm_core.errors import CrmError, DuplicateKey, PluginError, TryLater
from crm_core.extend import Job, JobDone, JobRun
from crm_core.ledger.leases import PAUSES, Cursor, Leases
from crm_core.ledger.tables import JOBS
from crm_core.ledger.telling import Call
from crm_core.values import SystemClock, from_micros, new_id, to_micros

if TYPE_CHECKING:
    from crm_core.services.staying import Staying

_LONGEST: Final = 86_400.0
"""Seconds at most until a part is tried again, whatever a service asks for."""


@attrs.frozen(kw_only=True)
class JobOutcome:
    """What one run came to: what was done in words, the error or trouble, and the seconds until it is tried again."""

    plugin: str
    job: str
    part: str
    told: str = ""
    error: str = ""
    again_in: float | None = None


@attrs.frozen(kw_only=True)
class JobStanding:
    """Where a part of a job stands: when it last did its work, when it is next due, and what is wrong, if anything."""

    plugin: str
    job: str
    part: str
    last_success_at: datetime | None
    next_try_at: datetime | None
    attempts: int
    error: str
    running: bool


class JobService:
    """The jobs that plugins bring: run by the workers of `crm run`, shown by who asks where they stand."""

    def __init__(self, crm: Any) -> None:
        self._crm = crm
        self.leases = Leases(crm.storage, SystemClock(), JOBS)
        self.calling: Callable[[Call], None] = lambda call: None
        """Is told of each run before it begins."""
        self.at_work: Callable[[Call, bool], None] = lambda call, begins: None
        """Is told of each run in a thread of its own, in that thread: when it begins, and (false) when it is over."""
        self._last: tuple[str, Job, str] | None = None

    @property
    def any(self) -> bool:
        """Whether any plugin brings a job; costs no import."""
        return bool(self._crm.host.implements("register_jobs"))

    def has_parts(self) -> bool:
        """Whether there is anything to be run again and again."""
        return self.any and bool(self._parts([]))

    def standing(self) -> list[JobStanding]:
        """Return where every part stands that was ever run."""
        return [
            JobStanding(
                plugin=cursor.plugin,
                job=cursor.hook.partition(":")[0],
                part=cursor.hook.partition(":")[2],
                last_success_at=from_micros(cursor.position) if cursor.position else None,
                next_try_at=from_micros(cursor.next_at) if cursor.next_at else None,
                attempts=cursor.attempts,
                error=cursor.error or "",
                running=not self.leases.is_free(cursor),
            )
            for cursor in self.leases.all()
        ]

    @cached_property
    def staying(self) -> Staying:
        """The parts that stay at work in this process."""
        from crm_core.services.staying import Staying

        return Staying(self._crm, self.leases, self.at_work)

    def run(self, stopping: Callable[[], bool] = lambda: False, *, lasting: bool = False) -> list[JobOutcome]:
        """Run each part that is due, once; returns what came of those that had something to do.

        With `lasting` those that stay at work, or are done apart, get a thread of their own, and what they tell is
        returned by a later call; `staying.end` ends them.
        """
        outcomes = self.staying.news() if lasting else []
        waiting = self._parts(outcomes) if self.any else []
        # Whoever comes behind one that has much to do is the first the next time.
        first = next((n + 1 for n, each in enumerate(waiting) if each[:3] == self._last), 0)
        for plugin, job, part, every in [*waiting[first:], *waiting[:first]]:
            if stopping():
                break
            self._last = (plugin, job, part)
            outcomes += self._run_part(plugin, job, part, every, stopping, lasting=lasting)
        return outcomes

    def _parts(self, outcomes: list[JobOutcome]) -> list[tuple[str, Job, str, float]]:
        found: list[tuple[str, Job, str, float]] = []
        for each in self._crm.host.collect("register_jobs"):
            job = cast(Job, each.item)
            try:
                found += [(each.plugin, job, part, every) for part, every in job.parts(self._crm).items()]
            except Exception as error:  # of a plugin: told, and tried again
                outcomes.append(JobOutcome(plugin=each.plugin, job=job.name, part="", error=words_of(error)))
        return found

    def settle(
        self, name: str, failed: Call | None, error: str, part: tuple[str, str] | None = None
    ) -> JobOutcome | None:
        """Give back what a worker held that ended without doing so itself; see `Delivery.settle`.

        `part` is one in a thread of its own, by its plugin and hook, at which the worker ended.
        """
        outcome = None
        cursor = None if part is None else self.leases.cursor(*part)
        if cursor is not None and cursor.lease is not None and self.leases.is_free(cursor):
            outcome = note_failure(cursor, f"{error} while it was at work", None)
            self.leases.give_back(cursor, cursor.lease, lambda: None)
        for cursor in self.leases.left_by(name):
            if failed is not None and (cursor.plugin, cursor.hook) == (failed.plugin, failed.hook):
                outcome = note_failure(cursor, error, None)
            self.leases.give_back(cursor, name, lambda: None)
        return outcome

    def _run_part(
        self, plugin: str, job: Job, part: str, every: float, stopping: Callable[[], bool], *, lasting: bool
    ) -> Iterator[JobOutcome]:
        hook = f"{job.name}:{part}"
        known = self.leases.cursor(plugin, hook)
        # A look costs less than a lease, and most often nothing is due.
        if known is not None and not self.leases.is_due(known):
            return
        try:
            if job.waiting is not None and not job.waiting(self._crm, part):
                return
            stays = lasting and job.stays is not None and job.stays(self._crm, part)
        except Exception as error:
            yield JobOutcome(plugin=plugin, job=job.name, part=part, error=words_of(error))
            return
        if known is None:
            self._begin(plugin, hook)
        if stays or (lasting and job.apart):
            self.staying.begin(plugin, job, part, every, stays=stays)
            return
        with self.leases.taken(plugin, hook) as cursor:
            if cursor is None:
                return
            self.calling(Call(plugin, hook, 0))
            try:
                # Whoever has much to do ends in time, and not by force; half is left for what is then at hand.
                ends = monotonic() + self.leases.patience / 2
                run = JobRun(crm=self._crm, part=part, stopping=lambda: stopping() or monotonic() > ends)
                done = checked(job, job.run(run))
            except Exception as error:  # whatever it is: told, and tried again
                yield note_failure(cursor, words_of(error), error.delay if isinstance(error, TryLater) else None)
                return
            yield note_success(cursor, done, every)

    def _begin(self, plugin: str, hook: str) -> None:
        try:
            self.leases.save([Cursor(new_id(), plugin, hook, 0)])
        except DuplicateKey:  # another worker was first
            return


def checked(job: Job, done: Any) -> JobDone:
    """Return what a run returned.

    Raises:
        PluginError: it is nothing that a run may return.
    """
    if not isinstance(done, JobDone):
        raise PluginError(f"the job {job.name!r} returned {type(done).__name__}, expected JobDone")
    return done


def note_success(cursor: Cursor, done: JobDone, every: float) -> JobOutcome:
    """Note a success in a cursor that is to be saved."""
    now = to_micros(SystemClock().now())
    pause = every if done.again_in is None else done.again_in
    fresh = done.trouble if done.trouble != cursor.error else ""  # the same again and again is told once
    cursor.position, cursor.attempts, cursor.error = now, 0, done.trouble or None
    cursor.next_at = now + int(pause * 1_000_000)
    return _outcome(cursor, told=done.told, error=fresh)


def note_failure(cursor: Cursor, error: str, delay: float | None) -> JobOutcome:
    """Note a failure in a cursor that is to be saved; `delay` is the seconds that the service asks for."""
    cursor.attempts = min(cursor.attempts + 1, len(PAUSES))
    pause = min(max(float(PAUSES[cursor.attempts - 1]), delay or 0.0), _LONGEST)
    cursor.next_at, cursor.error = to_micros(SystemClock().now()) + int(pause * 1_000_000), error
    return _outcome(cursor, error=error, again_in=pause)


def words_of(error: BaseException) -> str:
    """Say what went wrong, and what to do."""
    if isinstance(error, CrmError):
        return f"{error.message}{f'; {error.hint}' if error.hint else ''}"
    return f"an unexpected {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _outcome(cursor: Cursor, **parts: Any) -> JobOutcome:
    job, _, part = cursor.hook.partition(":")
    return JobOutcome(plugin=cursor.plugin, job=job, part=part, **parts)


__all__ = ["JobOutcome", "JobService", "JobStanding", "checked", "note_failure", "note_success", "words_of"]
