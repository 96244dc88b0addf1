"""Plugins that fail in every hook of a write: others run, the record is as it was, the error names plugin and hook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from crm_core import CRM, Customer, Deal, Interaction, Money, Sale, hookimpl
from crm_core.errors import CrmError, PluginError
from tests.torture import Finding, require
from tests.torture.backends import NOW, Backend
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
    """Let one bad plugin fail in each hook in each way, beside a good one."""
    template, work = place / "template", place / "work"
    backend.make(template, _ada)
    tried = 0
    for hook, written in HOOKS.items():
        for fault in FAULTS:
            if fault is _wrong_type and hook.startswith("on_"):
                continue  # what it returns means nothing
            backend.again(template, work, _ada)
            _fail(work, hook, WRITES[written], fault)
            tried += 1
    figure = f"{len(HOOKS)} hooks x {len(FAULTS)} faults, {tried} in all: contained, named, nothing by half"
    figure += "; deadline of a hang in on_*: NOT RUN, there is no daemon yet that could set one"
    yield Finding(promise=PROMISE, storage=backend.name, state="held", figure=figure)


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
