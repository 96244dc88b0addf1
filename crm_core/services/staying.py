"""Parts of jobs that stay at work, such as accounts that listen, or are done apart: a thread each, so no other waits.

Each holds a lease of its own, so that of several workers one does it. A thread cannot be ended: of one that hangs the
lease is given back, the failure is told, and after the usual pause another begins beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from crm_core.errors import CrmError, TryLater
from crm_core.extend import Job, JobDone, JobRun
from crm_core.ledger.leases import Cursor, Leases
from crm_core.ledger.tables import JOBS
from crm_core.ledger.telling import Call
from crm_core.services.jobs import JobOutcome, checked, note_failure, note_success, words_of
from crm_core.values import SystemClock

_LONGEST_PAUSE: Final = 540.0
"""Seconds at most between two signs of life, however seldom a part is to be done."""
_STEADY: Final = 60.0
"""Seconds after which a run counts as one that went well: before, one that breaks off again is tried ever later."""
_GRACE: Final = 10.0
"""Seconds that a run has to come to an end when it is to stop; what is cut off then must be able to be done again."""
_MOST_HANGING: Final = 3
"""Threads of one part that may hang before no other is begun."""
_SLICE: Final = 5.0
"""Seconds after which one that is done apart comes to an end, to say what it did, and goes on if there is more."""


class Staying:
    """The parts that stay at work in this process; `leases` are those of its jobs.

    `at_work` is told, in the thread of a part, when that begins and (false) when it is over.
    """

    def __init__(self, crm: Any, leases: Leases, at_work: Callable[[Call, bool], None]) -> None:
        self._crm = crm
        self._leases = leases
        self._at_work = at_work
        self._ended = Event()
        self._stays: list[_Stay] = []
        self.stuck = ""
        """A part of which as many runs hang as may: only the end of this process ends them."""
        self._news: SimpleQueue[JobOutcome] = SimpleQueue()

    def begin(self, plugin: str, job: Job, part: str, every: float, *, stays: bool = True) -> None:
        """Put a part to work that is due: until the end, or (`stays` false) until it is done.

        Nothing if it is at work, or if too many of its runs hang.
        """
        others = [one for one in self._stays if one.is_of(plugin, job, part) and one.is_alive()]
        if any(not one.given_up for one in others):
            return
        if len(others) >= _MOST_HANGING:
            self.stuck = f"{job.name} {part}"
            return
        kind = _Stay if stays else _Apart
        stay = kind(self._crm, plugin, job, part, every, self._leases.patience, self._ended, self._news, self._at_work)
        self._stays.append(stay)
        stay.start()

    def news(self) -> list[JobOutcome]:
        """Return what the parts told since the last time, after giving up those that hang."""
        self._stays = [one for one in self._stays if one.is_alive()]
        for each in self._stays:
            if each.is_overdue():
                each.give_up()
        found: list[JobOutcome] = []
        with suppress(Empty):
            while True:
                found.append(self._news.get_nowait())
        return found

    def end(self) -> list[JobOutcome]:
        """Let every part finish what it is at; returns what they told at last.

        One that stays has ten seconds. One that is done apart has as long as a run may take, for what it is at may be a
        message that would leave a second time.
        """
        self._ended.set()
        begun = monotonic()
        for each in self._stays:
            if not each.given_up:
                each.join(max(0.0, each.ends_at(begun) - monotonic()))
        for each in self._stays:
            if each.is_alive():
                each.let_go()
        self._stays = []
        return self.news()


class _Stay(Thread):
    """One run of a part that stays at work."""

    def __init__(
        self,
        crm: Any,
        plugin: str,
        job: Job,
        part: str,
        every: float,
        patience: float,
        ended: Event,
        news: SimpleQueue[JobOutcome],
        at_work: Callable[[Call, bool], None],
    ) -> None:
        super().__init__(name=f"crm-core {job.name} {part}", daemon=True)  # one that hangs keeps no process alive
        self.given_up = False
        self._crm = crm
        self._plugin, self._job, self._part = plugin, job, part
        self._every = every
        self._pause = min(every, _LONGEST_PAUSE)
        self._longest = self._silence(patience)
        self._ended = ended
        self._news = news
        self._at_work = at_work
        self._begun = self._sign_at = monotonic()
        self._leases = Leases(crm.storage, SystemClock(), JOBS)
        self._leases.patience = self._longest
        self._hook = f"{job.name}:{part}"

    def is_of(self, plugin: str, job: Job, part: str) -> bool:
        """Whether it is a run of that part."""
        return (self._plugin, self._job.name, self._part) == (plugin, job.name, part)

    def ends_at(self, asked: float) -> float:
        """Return until when it may go on that was asked to end at a moment."""
        return asked + _GRACE

    def is_overdue(self) -> bool:
        """Whether it has given no sign of life for too long, and nobody has noticed yet."""
        return not self.given_up and monotonic() - self._sign_at > self._longest

    def give_up(self) -> None:
        """Tell that it hangs, and let another be begun; should it come back it finds that its lease is gone."""
        self.given_up = True
        self.let_go(f"it has given no sign of life for {self._longest:g} s; another attempt begins beside it")

    def let_go(self, error: str = "") -> None:
        """Give back its lease in its place; with an error as failed."""
        cursor = self._leases.cursor(self._plugin, self._hook)
        if cursor is None or cursor.lease != self._leases.name:
            return
        if error:
            self._news.put(note_failure(cursor, error, None))
        self._leases.give_back(cursor, self._leases.name, lambda: None)

    def run(self) -> None:
        """Work under a lease; a database that is away ends it, and whoever waits for that begins it anew."""
        try:
            with self._leases.taken(self._plugin, self._hook) as cursor:
                if cursor is not None:
                    call = Call(self._plugin, self._hook, 0)
                    self._at_work(call, True)
                    self._work(cursor)
                    self._at_work(call, False)
        except CrmError as error:
            self._news.put(JobOutcome(plugin=self._plugin, job=self._job.name, part=self._part, error=words_of(error)))

    def _silence(self, patience: float) -> float:
        """Return the seconds without a sign of life after which it counts as hanging."""
        return self._pause + patience

    def _is_to_end(self, cursor: Cursor) -> bool:
        return self._ended.is_set() or self.given_up or cursor.lease is None

    def _work(self, cursor: Cursor) -> None:
        attempts = cursor.attempts

        def stopping() -> bool:
            return self._is_to_end(cursor)

        def note(done: JobDone) -> None:
            self._sign_at = monotonic()
            outcome = note_success(cursor, done, 0.0)  # whoever takes its place goes on at once
            if self._sign_at - self._begun < _STEADY:
                cursor.attempts = attempts
            if cursor.lease is not None and self._leases.keep(cursor):
                self._tell(outcome)

        run = JobRun(crm=self._crm, part=self._part, stopping=stopping, stays=True, note=note, pause=self._pause)
        self._tried(cursor, run, lambda: 0.0 if stopping() else self._pause)

    def _tried(self, cursor: Cursor, run: JobRun, pause: Callable[[], float]) -> JobDone | None:
        """Run it and note what came of it, to be done again after a pause; returns None if it failed."""
        done = None
        try:
            done = checked(self._job, self._job.run(run))
        except BaseException as error:  # whatever it is, an exit too, which would end the thread without a word
            outcome = note_failure(cursor, words_of(error), error.delay if isinstance(error, TryLater) else None)
        else:
            outcome = note_success(cursor, done, pause())
        if not self.given_up and cursor.lease is not None:
            self._tell(outcome)
        return done

    def _tell(self, outcome: JobOutcome) -> None:
        if outcome.told or outcome.error:
            self._news.put(outcome)


class _Apart(_Stay):
    """A part that is done in a thread of its own: it ends when there is nothing more to do."""

    def ends_at(self, asked: float) -> float:
        return max(asked + _GRACE, self._sign_at + self._longest)

    def _silence(self, patience: float) -> float:
        return patience

    def _work(self, cursor: Cursor) -> None:
        more = True
        while more and not self._is_to_end(cursor):
            self._sign_at = monotonic()
            done = self._tried(cursor, self._slice(cursor, self._sign_at + _SLICE), lambda: self._every)
            more = done is not None and done.again_in == 0 and self._leases.keep(cursor)

    def _slice(self, cursor: Cursor, over: float) -> JobRun:
        def stopping() -> bool:
            return self._is_to_end(cursor) or monotonic() >= over

        return JobRun(crm=self._crm, part=self._part, stopping=stopping)


__all__ = ["Staying"]
