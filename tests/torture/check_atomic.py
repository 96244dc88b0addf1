"""Every write operation, failed at each of its statements: what is stored is what was before or what came after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crm_core import CRM, CrmError
from crm_core.errors import UpgradeNeeded
from crm_core.opening import upgrade_workspace
from tests.torture import Broken, Finding, require
from tests.torture.backends import NOW, Backend
from tests.torture.faults import KILLED, Mode, faults, in_child, rewriting
from tests.torture.world import ACTIONS, Action, fill, require_sound, state

PROMISE = "crash safety: statement k fails"


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Fail each operation at statement k = 1..N; the quick form at a sample of k, alternating the ways to fail.

    It tries every operation on SQLite, and every fourth one elsewhere.
    """
    template, work = place / "template", place / "work"
    backend.make(template, fill)
    faults.reads = long
    tried = statements = 0
    chosen = list(ACTIONS.items())
    if not long and backend.name != "sqlite":
        chosen = chosen[1::4]
    for name, action in chosen:
        allowed, count = _clean_run(backend, template, work, name, action)
        statements += count
        for at, mode in _points(count, long):
            backend.again(template, work)
            _fail(work, action, mode, at, set(allowed), f"{name}, statement {at} of {count}, {mode}")
            tried += 1
    faults.reads = False
    if backend.name == "sqlite":
        _control(backend, template, work)
    figure = f"{len(chosen)} operations, {statements} statements, {tried} failures, 0 states between"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


def _clean_run(backend: Backend, template: Path, work: Path, name: str, action: Action) -> tuple[list[str], int]:
    """Run an operation unharmed; returns the states that its commits make, the one of before first, and its length."""
    backend.again(template, work)
    states = []

    def note() -> None:
        with CRM.open(work, clock=NOW) as beside:
            states.append(state(beside))

    note()
    with CRM.open(work, clock=NOW) as crm:
        with faults.armed("count", committed=note):
            action(crm)
        count = faults.count
    note()
    require(states[0] != states[-1] or name == "add own field", f"{name} changes nothing")
    return states, count


def _control(backend: Backend, template: Path, work: Path) -> None:
    """Break the promise on purpose: a rollback that commits must be found, else this check finds nothing."""
    allowed, count = _clean_run(backend, template, work, "win deal", ACTIONS["win deal"])
    backend.again(template, work)
    try:
        with rewriting(lambda sql: "COMMIT" if sql == "ROLLBACK" else sql):
            _fail(work, ACTIONS["win deal"], "raise", count - 1, set(allowed), "control")
    except (Broken, CrmError):
        return
    raise Broken("a rollback that commits what it should forget was not noticed")


def _points(count: int, long: bool) -> Iterator[tuple[int, Mode]]:
    modes: tuple[Mode, ...] = ("raise", "exit", "gone")
    if long:
        yield from ((at, mode) for at in range(1, count + 1) for mode in modes)
        return
    chosen = sorted({1 + count // 3, count - 1, count} & {*range(1, count + 1)})
    yield from ((at, modes[n % 2] if n % 5 else "gone") for n, at in enumerate(chosen))


def _fail(work: Path, action: Action, mode: Mode, at: int, allowed: set[str], where: str) -> None:
    """Run an operation that fails at a statement, and look at what is there afterwards."""
    if mode == "exit":
        code = in_child(lambda: _attempt(work, action, mode, at))
        require(code == KILLED, f"{where}: the process ended with {code}")
    else:
        require(_attempt(work, action, mode, at), f"{where}: no error reached the caller")
    with _reopened(work) as crm:
        require(state(crm) in allowed, f"{where}: a state that is neither before nor after")
        require_sound(crm, where)


def _reopened(work: Path) -> CRM:
    """Open a CRM as a person does: a server's database whose schema is behind is upgraded first, as the error says."""
    try:
        return CRM.open(work, clock=NOW)
    except UpgradeNeeded:
        upgrade_workspace(work)
        return CRM.open(work, clock=NOW)


def _attempt(work: Path, action: Action, mode: Mode, at: int) -> bool:
    """Run an operation that is to fail; returns whether it said so."""
    crm = CRM.open(work, clock=NOW)
    try:
        with faults.armed(mode, at):
            action(crm)
    except CrmError:
        return True
    finally:
        crm.close()
    return False
