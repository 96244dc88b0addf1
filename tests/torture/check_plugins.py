"""Plugins that fail in every hook of a write: others run, the record is as it was, the error names plugin and hook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from crm_core import CRM, Customer, Deal, Interaction, Money, Sale, hookimpl
from crm_core.errors import CrmError, PluginError
from crm_core.ledger.telling import Failure
from crm_core.upkeep import Workers
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend
from tests.torture.forking import forked_workers
from tests.torture.world import state

PROMISE = "plugin faults"

WRITES: dict[str, Callable[[CRM, Customer], object]] = {
    "customers": lambda crm, ada: crm.customers.edit(ada.evolve(city="Paris")),
    "interactions": lambda crm, ada: crm.interactions.add(Interaction(customer_id=ada.id, occurred_at=NOW.now())),
    "deals": lambda crm, ada: crm.deals.add(Deal(customer_id=ada.id, title="D")),
    "sales": lambda crm, ada: crm.sales.add(Sale(customer_id=ada.id, amount=Money(1, "EUR"), sold_at=NOW.now())),
}
HOOKS = {
    "prepare_customers": "customers",
    "before_customers_change": "customers",
    "before_interactions_change": "interactions",
    "before_deals_change": "deals",
    "on_customers_changed": "customers",
    "on_interactions_changed": "interactions",
    "on_deals_changed": "deals",
    "on_sales_changed": "sales",
}


LISTENERS = [hook for hook in HOOKS if hook.startswith("on_")]
ENDLESS = {
    "hangs": "time.sleep(1000)",
    "hangs and holds what it can": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(1000)",
    "ends the process": "os._exit(0)",
    "is killed": "os.kill(os.getpid(), signal.SIGKILL)",
}
"""What a plugin does that no process contains: `crm run` gives it one of its own."""
_HOOK = """
@hookimpl
def {hook}(event):
    {line}
"""


def _raises(event: Any, crm: CRM) -> Any:
    raise ZeroDivisionError("قلب")


def _exits(event: Any, crm: CRM) -> Any:
    raise SystemExit(3)


def _wrong_type(event: Any, crm: CRM) -> Any:
    return ["Ada", 7]


def _mutates(event: Any, crm: CRM) -> Any:
    event.changes = ()


def _re_enters(event: Any, crm: CRM) -> Any:
    for write in WRITES.values():
        write(crm, crm.customers.find().records[0])
    raise RuntimeError("it came back to itself")


FAULTS = (_raises, _exits, _wrong_type, _mutates, _re_enters)


def run(backend: Backend, place: Path, long: bool) -> Iterator[Finding]:
    """Let one bad plugin fail in each hook in each way, beside a good one.

    The quick form tries every hook and every way on every storage, and all of each on SQLite.
    """
    template, work = place / "template", place / "work"
    backend.make(template, _ada)
    cases = [
        (hook, fault)
        for hook in HOOKS
        for fault in FAULTS
        if not (fault is _wrong_type and hook.startswith("on_"))  # what it returns means nothing
    ]
    chosen = cases if long or backend.name == "sqlite" else cases[:: len(FAULTS) - 2]
    for hook, fault in chosen:
        backend.again(template, work)
        _fail(work, hook, WRITES[HOOKS[hook]], fault)
    hooks, faults = (len({*kind}) for kind in zip(*chosen, strict=True))
    figure = f"{hooks} hooks, {faults} faults, {len(chosen)} in all: contained, named, nothing by half"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)
    names = list(ENDLESS)[:: 1 if long else 2]
    with forked_workers(not long):
        for name in names:
            _end(backend, place / name, ENDLESS[name])
    figure = f"{len(names)} faults x {len(LISTENERS)} on_* hooks: {', '.join(names)}; named, the others told"
    yield Finding(promise="plugin faults, crm run", storage=backend.name, state="held", figure=figure)


def _end(backend: Backend, work: Path, line: str) -> None:
    """Let a bad plugin stop in each hook, beside a good one, and two workers tell both."""
    backend.make(work, _everything)
    told = work / "told"
    good = f"with open({str(told)!r}, 'a') as told: told.write(type(event).__name__ + chr(10))"
    for name, code in (("bad", line), ("good", good)):
        hooks = "".join(_HOOK.format(hook=hook, line=code) for hook in LISTENERS)
        (work / f"{name}.py").write_text(f"import os, signal, time\nfrom crm_core import hookimpl\n{hooks}", "utf-8")
    with (work / "crm.toml").open("a", encoding="utf-8") as settings:
        settings.write('\n[plugins]\npaths = ["./bad.py", "./good.py"]\n')
    with CRM.open(work) as crm:
        mine = [one for one in crm.ledger.delivery.cursors() if one.plugin in ("bad", "good")]
        crm.ledger.delivery.leases.save([attrs.evolve(one, position=0) for one in mine])
    failures: list[Failure] = []

    def tell(news: object) -> None:
        if isinstance(news, Failure):
            failures.append(news)

    Workers(work, count=2, once=True, deadline=0.5, tell=tell).run()
    Workers(work, once=True, deadline=0.5, tell=tell).run()  # what the one had in hand when the other looked
    named = {(one.plugin, one.hook) for one in failures}
    require(named == {("bad", hook) for hook in LISTENERS}, f"{line}: {named}")
    require(len(told.read_text().split()) >= len(LISTENERS), f"{line}: the other plugin was not told of everything")
    with CRM.open(work) as crm:
        for one in crm.ledger.delivery.cursors():
            require(one.lease is None, f"{line}: {one.plugin}.{one.hook} is still held")
            require(one.plugin != "bad" or one.attempts > 0, f"{line}: the failure of {one.hook} does not count")


def _everything(crm: CRM) -> None:
    _ada(crm)
    for write in WRITES.values():
        write(crm, crm.customers.find().records[0])


def _ada(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada"))


def _fail(work: Path, hook: str, write: Callable[[CRM, Customer], object], fault: Callable[[Any, CRM], Any]) -> None:
    where = f"{hook}, {fault.__name__.strip('_').replace('_', ' ')}"
    told: list[object] = []
    crm: CRM

    def bad(self: object, event: Any) -> Any:
        return fault(event, crm)

    def good(self: object, event: Any) -> Any:
        told.append(event)
        return () if hook.startswith(("prepare", "before")) else None

    bad.__name__ = good.__name__ = hook
    plugins = [type("Bad", (), {hook: hookimpl(bad)})(), type("Good", (), {hook: hookimpl(good)})()]
    crm = CRM.open(work, plugins=plugins, clock=NOW)
    try:
        before = state(crm)
        error: CrmError | None = None
        try:
            write(crm, crm.customers.find().records[0])
        except CrmError as refused:
            error = refused
        if hook.startswith("on_"):
            _isolated(crm, hook, error, told, before, fault, where)
        else:
            require(isinstance(error, PluginError), f"{where}: {error!r}")
            require("Bad" in str(error) and hook in str(error), f"{where}: {error}")
            require(state(crm) == before, f"{where}: something was written")
    finally:
        crm.close()


def _isolated(
    crm: CRM, hook: str, error: CrmError | None, told: list[object], before: str, fault: object, where: str
) -> None:
    require(error is None, f"{where}: {error}")
    require(state(crm) != before, f"{where}: the write is not there")
    require(len(told) >= 1, f"{where}: the other plugin was not told")
    (cursor,) = [one for one in crm.ledger.delivery.cursors() if (one.plugin, one.hook) == ("Bad", hook)]
    require(bool(cursor.error) and f"Bad.{hook}" in str(cursor.error), f"{where}: {cursor.error}")
