"""The workers of `crm run`: started, listened to, ended when a plugin hangs, and started again.

Each is a process (see `worker`), so that a plugin that hangs or crashes takes nothing with it but its call. Workers of
several machines, and of several `crm run`, share one database by the leases on its cursors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Final

import attrs

from crm_core import errors
from crm_core.errors import CrmError
from crm_core.ledger.leases import CALL_SECONDS, new_holder
from crm_core.ledger.telling import Failure, Told
from crm_core.services.jobs import JobOutcome
from crm_core.upkeep.worker import Orders
from crm_core.values import SystemClock, to_micros

_CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from crm_core.upkeep.worker import main; sys.exit(main())"
)
"""Finds the same modules as this process does, however that was started."""
_LONGEST_PAUSE: Final = 30.0
"""Seconds at most before a worker that ended by itself is started again."""
_KILLED_AT_FIRST: Final = 3
"""How often a worker is started again that a signal ends before any was ready."""


@attrs.frozen(kw_only=True)
class Trouble:
    """Something that a person should know and that the workers go on after: in words."""

    text: str
    hint: str = ""


News = Told | Failure | JobOutcome | Trouble


@attrs.frozen(kw_only=True)
class RunReport:
    """What the workers did until they ended."""

    delivered: int
    failures: int
    listened: bool


@attrs.define(eq=False)
class _Worker:
    """One process; `call` is the one under way, since `since`; `made` are those of the round under way.

    `parts` are runs of jobs in threads of their own, by plugin and hook, the one begun last at the end.
    """

    orders: Orders
    process: subprocess.Popen[str]
    call: tuple[str, str, int] | None = None
    made: list[tuple[str, str, int]] = attrs.field(factory=list)
    since: float = 0.0
    parts: dict[tuple[str, str], float] = attrs.field(factory=dict)
    ready: bool = False
    ended: bool = False
    overdue: bool = False
    refused: Mapping[str, Any] | None = None


class Workers:
    """So many workers on one workspace; `run` starts them and returns when all have ended."""

    def __init__(
        self,
        place: str | Path,
        *,
        user: str | None = None,
        count: int = 1,
        every: float = 1.0,
        once: bool = False,
        deadline: float = CALL_SECONDS,
        retry: str = "",
        tell: Callable[[News], None] = lambda news: None,
    ) -> None:
        """Prepare workers.

        Args:
            place: the workspace's directory, or a storage URL.
            user: who is at work.
            count: how many.
            every: seconds between two looks at the ledger.
            once: end when nothing is due any more.
            deadline: seconds that one call of a plugin may take.
            retry: a plugin to be told of what was given up on, and of nothing else; with `once`.
            tell: is told what happens, in the thread of `run`.
        """
        self._orders = Orders(
            place=str(place),
            is_directory=isinstance(place, Path),
            user=user,
            name="",
            every=every,
            once=once,
            patience=deadline,
            retry=retry,
            begun=to_micros(SystemClock().now()),
        )
        self._count = count
        self._deadline = deadline
        self._tell = tell
        self._messages: SimpleQueue[tuple[_Worker, Mapping[str, Any] | None] | None] = SimpleQueue()
        self._workers: list[_Worker] = []
        self._waiting: list[tuple[float, Orders]] = []
        self._stopping = False
        self._delivered = self._failures = self._crashes = 0
        self._was_ready = self._listened = False

    def run(self) -> RunReport:
        """Work until it is stopped, or (`once`) nothing is due.

        Raises:
            CrmError: the workspace cannot be opened.
        """
        try:
            for _ in range(self._count):
                self._start(self._orders)
            while self._workers or (self._waiting and not self._stopping):
                self._start_waiting()
                self._listen()
                self._end_overdue()
        finally:
            for worker in self._workers:
                worker.process.kill()
                _leave(worker)
        return RunReport(delivered=self._delivered, failures=self._failures, listened=self._listened)

    def stop(self) -> None:
        """Ask the workers to end after what is under way; may be called by a signal or another thread."""
        self._stopping = True
        self._messages.put(None)

    def _start(self, orders: Orders) -> None:
        orders = attrs.evolve(orders, name=new_holder())
        process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches who started it, which then asks it to end
        )
        worker = _Worker(orders, process)
        self._workers.append(worker)
        _send(worker, json.dumps(attrs.asdict(orders)))
        Thread(target=self._read, args=(worker,), name="crm-core worker", daemon=True).start()

    def _read(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as said:
            for line in said:
                if line.endswith("\n"):  # of one that was killed the last may be cut off
                    self._messages.put((worker, json.loads(line)))
        self._messages.put((worker, None))

    def _start_waiting(self) -> None:
        due = [orders for at, orders in self._waiting if at <= monotonic()]
        self._waiting = [(at, orders) for at, orders in self._waiting if at > monotonic()]
        for orders in due if not self._stopping else ():
            self._start(orders)

    def _listen(self) -> None:
        """Take in what was said since, waiting for a word no longer than until something is to be done."""
        ends = [worker.since + self._deadline for worker in self._workers if worker.call is not None]
        ends += [at for at, _ in self._waiting]
        pause = max(0.0, min(ends, default=monotonic() + _LONGEST_PAUSE) - monotonic())
        try:
            message = self._messages.get(timeout=pause)
        except Empty:
            return
        if message is None:
            for worker in self._workers:
                _send(worker, "stop")
            return
        worker, content = message
        if content is None:
            self._ended(worker)
        else:
            self._said(worker, content)

    def _said(self, worker: _Worker, message: Mapping[str, Any]) -> None:
        content = {name: value for name, value in message.items() if name != "kind"}
        kind = message["kind"]
        if kind in ("begun", "over"):
            worker.parts.pop(part := (content["plugin"], content["hook"]), None)
            worker.parts |= {part: monotonic()} if kind == "begun" else {}
        elif kind != "warning":
            worker.call = (content["plugin"], content["hook"], content["position"]) if kind == "call" else None
            worker.made = [*worker.made, worker.call] if worker.call else []
            worker.since = monotonic()
        if kind == "ready":
            worker.ready = self._was_ready = True
            self._listened = self._listened or content["listened"]
        elif kind == "round":
            self._count_round(content)
        elif kind == "job":
            outcome = JobOutcome(**content)
            self._failures += bool(outcome.error)
            self._crashes = 0 if outcome.told else self._crashes
            self._tell(outcome)
        elif kind == "warning":
            self._tell(Trouble(text=content["text"]))
        elif kind == "trouble":
            self._tell(Trouble(text=content["message"], hint=content["hint"]))
        elif kind == "error":
            worker.refused = content
        elif kind == "end":
            worker.ended = True

    def _count_round(self, content: Mapping[str, Any]) -> None:
        told = [Told(**one) for one in content["told"]]
        failures = [Failure(**one) for one in content["failures"]]
        self._delivered += sum(one.transactions for one in told)
        self._failures += len(failures)
        self._crashes = 0 if told else self._crashes
        news: list[News] = [*told, *failures]
        for one in news:
            self._tell(one)

    def _end_overdue(self) -> None:
        for worker in self._workers:
            if worker.call is not None and not worker.overdue and monotonic() - worker.since >= self._deadline:
                worker.overdue = True
                worker.process.kill()

    def _ended(self, worker: _Worker) -> None:
        """Take leave of a worker: one that ended as it should, or refused to begin, or broke off."""
        self._workers.remove(worker)
        code = _leave(worker)
        if worker.ended:
            return
        why = self._why(worker, code)
        part = _to_blame(worker)
        call = worker.call if part is None else None
        if self._is_hopeless(worker, code) or (self._orders.once and worker.call is None):
            raise (
                _refusal(worker.refused) if worker.refused else CrmError(why, hint="crm doctor looks at the workspace")
            )
        self._crashes += 1
        self._count_round({"told": _told(worker), "failures": []})
        blamed = ".".join(part or (call or ())[:2])
        self._tell(Trouble(text=f"{blamed}: {why}" if blamed else why))
        left = attrs.evolve(self._orders, left_by=worker.orders.name, call=call, part=part, error=why)
        if worker.orders.retry:
            left = attrs.evolve(left, without=(*worker.orders.without, *(call[1:] for call in worker.made)))
        # One that was to settle what another had left, and did not come so far, leaves that to the next.
        left = left if worker.ready or not worker.orders.left_by else worker.orders
        # What is to blame has a pause of its own, and keeps nobody else waiting.
        pause = 0.0 if blamed else min(_LONGEST_PAUSE, 2.0**self._crashes / 2)
        self._waiting.append((monotonic() + pause, left))

    def _is_hopeless(self, worker: _Worker, code: int) -> bool:
        """Whether none was ever ready, nor will be; one that a signal ended may have been killed."""
        killed = code < 0 and worker.refused is None
        return not self._was_ready and not (killed and self._crashes < _KILLED_AT_FIRST)

    def _why(self, worker: _Worker, code: int) -> str:
        if worker.overdue:
            return f"it took longer than its deadline of {self._deadline:g} s; its worker was ended"
        if worker.refused is not None:
            return str(worker.refused["message"])
        return f"its worker ended by {f'signal {-code}' if code < 0 else f'itself with exit code {code}'}"


def _to_blame(worker: _Worker) -> tuple[str, str] | None:
    """Return the part in a thread of its own that ended its worker, as far as can be told; None: it was none.

    That is whatever began last, for most that ends a process does so at once. Of several that began together an
    innocent one may be blamed: it waits for a second, and the guilty one is then alone.
    """
    if worker.overdue or worker.refused is not None or not worker.parts:
        return None
    part, since = list(worker.parts.items())[-1]
    return part if worker.call is None or worker.since < since else None


def _told(worker: _Worker) -> list[dict[str, Any]]:
    """Return what a worker told in the round that it did not end; the last call is not among that."""
    made = dict.fromkeys(call for call in worker.made if call != worker.call)
    positions: dict[tuple[str, str], list[int]] = {}
    for plugin, hook, position in made:
        positions.setdefault((plugin, hook), []).append(position)
    return [
        {"plugin": plugin, "hook": hook, "transactions": len(found), "position": found[-1]}
        for (plugin, hook), found in positions.items()
    ]


def _send(worker: _Worker, text: str) -> None:
    assert worker.process.stdin is not None
    with suppress(OSError):  # of one that has ended, which is told by the end of its output
        worker.process.stdin.write(f"{text}\n")
        worker.process.stdin.flush()


def _leave(worker: _Worker) -> int:
    """Let go of a process that ended; returns its exit code."""
    code = worker.process.wait()
    if worker.process.stdin is not None:
        with suppress(OSError):
            worker.process.stdin.close()
    return code


def _refusal(refused: Mapping[str, Any]) -> CrmError:
    kind = getattr(errors, refused["type"], CrmError)
    error: CrmError = kind(refused["message"], hint=refused["hint"])
    error.exit_code = refused["exit_code"]
    return error
