"""One worker of `crm run`, a process of its own: it delivers until it is told to stop, and says what it does.

Apart from `workers`, which starts it, reads what it says, and ends it when a plugin hangs: a thread cannot be ended, a
process can. It takes its orders on standard input and ends with that; what plugins print goes to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import IO, Any, Final

import attrs

from crm_core.crm import CRM
from crm_core.errors import CrmError
from crm_core.ledger.telling import Call, DeliveryReport
from crm_core.services.jobs import JobOutcome

_SLICE_SECONDS: Final = 1.0
"""How long it delivers before it looks for orders."""
_LONGEST_PAUSE: Final = 60.0
"""Seconds at most between two looks at a database that is away."""


@attrs.frozen(kw_only=True)
class Orders:
    """What a worker is to do.

    Args:
        place: the workspace's directory, or a storage URL.
        user: who is at work.
        name: what it signs its leases with.
        every: seconds between two looks.
        once: end when nothing is due any more; what fails meanwhile is not tried again.
        patience: seconds for which a lease is renewed during one call.
        retry: a plugin to be told of what was given up on, and of nothing else; `without` as in `Delivery.retry`.
        begun: when the whole of it began, in microseconds; a worker that takes another's place knows it too.
        left_by: the name of a worker that ended without giving back its leases; its `call`, if any, failed by `error`,
            or its `part`, a run of a job in a thread of its own.
    """

    place: str
    is_directory: bool
    user: str | None
    name: str
    every: float
    once: bool
    patience: float
    retry: str = ""
    without: tuple[tuple[str, int], ...] = ()
    begun: int = 0
    left_by: str = ""
    call: tuple[str, str, int] | None = None
    part: tuple[str, str] | None = None
    error: str = ""


class Line:
    """The way back to who started the worker: one JSON object a line."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = Lock()

    def say(self, kind: str, **content: Any) -> None:
        """Send a message; where nobody listens any more the worker is about to be stopped anyway."""
        with self._lock:
            try:
                self._stream.write(json.dumps({"kind": kind, **content}, ensure_ascii=True) + "\n")
                self._stream.flush()
            except OSError:
                pass

    def report(self, report: DeliveryReport) -> None:
        """Send what a round came to."""
        told = [attrs.asdict(one) for one in report.told]
        self.say("round", told=told, failures=[attrs.asdict(one) for one in report.failures])


class _Warnings(logging.Handler):
    """Passes on what the kernel warns of; failures of subscribers are told by the rounds."""

    def __init__(self, line: Line) -> None:
        super().__init__(logging.WARNING)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "crm_core.delivery.failures":
            self._line.say("warning", text=record.getMessage())


def main() -> int:
    """Work as the first line on standard input says, until the next one, or its end."""
    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)  # who started it is asked as well, and tells it
    line = Line(_private_output())
    logger = logging.getLogger("crm_core")
    logger.handlers, logger.propagate = [_Warnings(line)], False
    first = sys.stdin.readline()
    if not first:  # who started it is gone already
        return 1
    orders = Orders(**json.loads(first))
    stop = Event()
    Thread(target=_wait_for_the_end, args=(stop, orders.patience), name="crm-core orders", daemon=True).start()
    try:
        place = Path(orders.place) if orders.is_directory else orders.place
        with CRM.open(place, user=orders.user) as crm:
            work(crm, orders, line, stop)
    except (Exception, KeyboardInterrupt) as error:  # what a plugin raises in a hook does not come so far
        line.say("error", **_described(error))
        return 1
    line.say("end")
    return 0


def work(crm: CRM, orders: Orders, line: Line, stop: Event) -> None:
    """Deliver until it is to stop, or (`once`) nothing is due; a database that is away is waited for."""
    delivery = crm.ledger.delivery
    delivery.leases.name, delivery.leases.patience = orders.name, orders.patience
    delivery.leases.begun = orders.begun if orders.once else None
    jobs = crm.jobs
    jobs.leases.name, jobs.leases.patience, jobs.leases.begun = orders.name, orders.patience, delivery.leases.begun
    delivery.calling = jobs.calling = lambda call: line.say("call", **attrs.asdict(call))
    jobs.at_work = lambda call, begins: line.say("begun" if begins else "over", plugin=call.plugin, hook=call.hook)
    if orders.left_by:
        call = None if orders.call is None else Call(*orders.call)
        failure = delivery.settle(orders.left_by, call, orders.error)
        line.report(DeliveryReport(delivered=0, told=(), failures=() if failure is None else (failure,)))
        left = jobs.settle(orders.left_by, call, orders.error, orders.part)
        _report_jobs(line, [] if left is None else [left])
    line.say("ready", listened=delivery.listened() or jobs.has_parts())
    if orders.retry:
        line.report(delivery.retry(orders.retry, without=[(hook, position) for hook, position in orders.without]))
        return
    away = 0
    while not stop.is_set():
        try:
            crm.finish_restore()  # one that somebody began beside us may have been killed
            report = crm.ledger.deliver(_SLICE_SECONDS)
            outcomes = crm.jobs.run(_slice_over(stop), lasting=not orders.once)
        except CrmError as error:
            if orders.once:
                raise
            line.say("trouble", **_described(error))
            away += 1
            stop.wait(min(_LONGEST_PAUSE, orders.every * 2.0**away))
            continue
        away = 0
        line.report(report)
        _report_jobs(line, outcomes)
        if jobs.staying.stuck:
            _report_jobs(line, jobs.staying.end())
            raise CrmError(f"{jobs.staying.stuck} hangs again and again; the worker is begun anew")
        if not report.told and not any(one.told for one in outcomes):
            if orders.once:
                return
            stop.wait(orders.every)
    _report_jobs(line, jobs.staying.end())


def _report_jobs(line: Line, outcomes: Sequence[JobOutcome]) -> None:
    for one in outcomes:
        if one.told or one.error:
            line.say("job", **attrs.asdict(one))


def _slice_over(stop: Event) -> Callable[[], bool]:
    """Make what tells a job to come to an end: it was asked to, or the others have waited long enough."""
    end = monotonic() + _SLICE_SECONDS
    return lambda: stop.is_set() or monotonic() >= end


def _private_output() -> IO[str]:
    """Take standard output for the messages, and let what plugins print go to standard error."""
    mine = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(mine, "w", encoding="ascii")


def _wait_for_the_end(stop: Event, patience: float) -> None:
    """Stop on a word, or when who started the worker is gone: then nobody else ends a call that hangs."""
    word = sys.stdin.readline()
    stop.set()
    if not word:
        Event().wait(patience)
        os._exit(1)


def _described(error: BaseException) -> Mapping[str, Any]:
    kind = type(error).__name__
    if isinstance(error, CrmError):
        return {"type": kind, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    told = f"a worker failed by an unexpected {kind}: {' '.join(str(error).split()) or 'no message'}"
    return {"type": kind, "message": told, "hint": "crm doctor looks at plugins and database", "exit_code": 1}
