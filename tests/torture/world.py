"""A small world of records, every way of writing to it, and what it holds in a form that compares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crm_core import CRM, Customer, Deal, Erasure, Interaction, Money, Relation, Sale, User, Write
from crm_core.errors import StorageError
from crm_core.ledger.compaction import CompactReport
from crm_core.ledger.verify import verify
from crm_core.records import ContactPoint, ExternalId
from crm_transfer.importing import import_file, resume_import
from crm_transfer.mapping import parse_mapping
from tests.torture import require
from tests.torture.backends import NOW

Action = Callable[[CRM], object]

MAPPING = """
[file]
system = "t"
[[record]]
type = "customer"
key = "no"
[record.fields]
name = "name"
city = "city"
[[record]]
type = "contact_point"
key = ["no", { const = "phone" }]
when = { column = "phone", given = true }
[record.fields]
customer_id = { column = "no", ref = "customer" }
kind = { const = "phone" }
value = "phone"
"""
OWN_FIELD = {"customer": {"sector": {"type": "text", "max_length": 40}}}


def fill(crm: CRM) -> None:
    """Write what the actions below need: people, deals, sales, an import and an edit to take back."""
    crm.users.add(User(name="Sara"))
    customers = [
        crm.customers.add(Customer(name=name, tags=("vip", "old")), email=f"{n}@example.org", external=("t", f"c{n}"))
        for n, name in enumerate(("Ada", "سارا", "Արամ"))
    ]
    for n, customer in enumerate(customers):
        deal = crm.deals.add(Deal(customer_id=customer.id, title=f"D{n}", amount=Money(100 + n, "EUR")))
        if n == 1:
            crm.deals.move(deal, "won")
    crm.sales.add(Sale(customer_id=customers[0].id, amount=Money(70, "EUR"), sold_at=NOW.now()))
    crm.customers.add(Customer(name="Alone", tags=("a",)), email="alone@example.org")
    with crm.operation("mistake"):
        crm.customers.edit(crm.customers.get(customers[0].id).evolve(city="Wrong", tags=("wrong",)))
        crm.deals.add(Deal(customer_id=customers[0].id, title="Wrong", amount=Money(1, "EUR")))


def people(place: Path, rows: int) -> Path:
    """Write a file of so many people beside a workspace."""
    path = place / f"people-{rows}.csv"
    lines = [f"{n},نام {n},City {n % 7},{f'+374 10 {n:06}' if n % 3 else ''}" for n in range(rows)]
    path.write_text("\n".join(["no,name,city,phone", *lines, ""]), "utf-8")
    return path


def named(crm: CRM, name: str) -> Customer:
    """Return the customer of that name."""
    return crm.customers.find(f'name = "{name}"').records[0]


def deal(crm: CRM, title: str) -> Deal:
    """Return the deal of that title."""
    return crm.deals.find(f'title = "{title}"').records[0]


def _external(crm: CRM) -> object:
    return crm.customers.add(Customer(name="New", tags=("x", "y")), email="new@example.org", external=("t", "new"))


def _edit(crm: CRM) -> object:
    return crm.customers.edit(named(crm, "Ada").evolve(city="Yerevan", tags=("vip", "new")))


def _edit_many(crm: CRM) -> object:
    return crm.customers.edit_many([one.evolve(country="AM") for one in crm.customers.find()])


def _bulk(crm: CRM) -> object:
    ada = named(crm, "Ada")
    writes = [Write(record=Customer(name="Bulk")), Write(record=ada.evolve(city="B"), before=ada)]
    return crm.customers.write_many(writes)


def _refund(crm: CRM) -> object:
    return crm.sales.refund(crm.sales.find("amount = 70").records[0], Money(5, "EUR"))


def _void(crm: CRM) -> object:
    return crm.sales.void(crm.sales.find("amount = 70").records[0])


def _relate(crm: CRM) -> object:
    ada, other = named(crm, "Ada"), named(crm, "سارا")
    return crm.relations.add(Relation(customer_id=ada.id, other_id=other.id, kind="referred by"))


def _message(crm: CRM) -> object:
    return crm.interactions.add(
        Interaction(customer_id=named(crm, "Ada").id, kind="call", topic="complaint", occurred_at=NOW.now())
    )


def _contact_point(crm: CRM) -> object:
    point = ContactPoint(customer_id=named(crm, "Ada").id, kind="phone", value="+37410123456", primary=True)
    return crm.contact_points.add(point)


def _undo(crm: CRM) -> object:
    mistake = next(one for one in crm.ledger.operations() if one.label == "mistake")
    return crm.ledger.undo(mistake.id)


def _erase(crm: CRM) -> object:
    return _scrubbed(crm, crm.privacy.erase(named(crm, "Ada").id))


def _compact(crm: CRM) -> object:
    return _scrubbed(crm, crm.ledger.compact(datetime(2026, 11, 21, tzinfo=UTC)))


def _scrubbed(crm: CRM, done: Erasure | CompactReport) -> object:
    """Fail where SQLite says that its file was not written anew; other storages always say what may remain."""
    if done.left_over and crm.settings.storage_url.startswith("sqlite"):
        raise StorageError(done.left_over)
    return done


def bring(crm: CRM, rows: int = 25) -> object:
    """Import people, going on with an import that was cut off."""
    directory = crm.settings.directory
    assert directory is not None
    cut_off = [one for one in crm.ledger.operations() if one.kind == "import" and one.state == "incomplete"]
    if cut_off:
        return resume_import(crm, cut_off[0].id)
    return import_file(crm, people(directory, rows), parse_mapping(MAPPING))


ACTIONS: dict[str, Action] = {
    "add customer": _external,
    "edit customer": _edit,
    "delete customer": lambda crm: crm.customers.delete(named(crm, "Alone")),
    "add many": lambda crm: crm.customers.add_many([Customer(name=f"M{n}") for n in range(5)]),
    "edit many": _edit_many,
    "bulk write": _bulk,
    "add contact point": _contact_point,
    "add deal": lambda crm: crm.deals.add(Deal(customer_id=named(crm, "Ada").id, title="D9", amount=Money(9, "EUR"))),
    "win deal": lambda crm: crm.deals.move(deal(crm, "D0"), "won"),
    "reopen deal": lambda crm: crm.deals.move(deal(crm, "D1"), "new"),
    "refund": _refund,
    "void": _void,
    "relate": _relate,
    "log message": _message,
    "undo": _undo,
    "merge": lambda crm: crm.customers.merge(named(crm, "Ada"), named(crm, "Alone")),
    "erase": _erase,
    "compact": _compact,
    "import": bring,
    "add own field": lambda crm: crm.extend_workspace(fields=OWN_FIELD),
}
"""Every way in which the services write."""


def state(crm: CRM) -> str:
    """Return a hash of all that a CRM holds: its records, and the ledger's traces of them."""
    return _digest([_records(crm), _ledger(crm)])


def content(crm: CRM) -> str:
    """Return a hash of the records alone, their versions left out: what an import is to arrive at by any way."""
    return _digest(_records(crm, versions=False))


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, ensure_ascii=False).encode()).hexdigest()


def _records(crm: CRM, *, versions: bool = True) -> list[Any]:
    """Return all records without ids and transactions.

    One that points at another says what that one says, so that two runs compare that chose other ids.
    """
    types = {name: kind for name, kind in crm.registry.types.items() if name != "external_id"}
    cells: dict[int, dict[str, Any]] = {}
    names: dict[int, str] = {}
    for name, kind in types.items():
        for record in crm.records(name).iterate():
            version = {"version": record.version} if versions else {}
            cells[record.id] = {path: field.of(record) for path, field in kind.fields.items()} | version
            names[record.id] = name

    def points(one: int, path: str) -> bool:
        return path != "version" and bool(types[names[one]].fields[path].declaration.references)

    def plain(one: int) -> str:
        told = {path: repr(value) for path, value in cells[one].items() if not points(one, path)}
        return json.dumps([names[one], told], sort_keys=True)

    found = []
    for one, content in cells.items():
        pointing = {path: plain(value) for path, value in content.items() if value and points(one, path)}
        found.append(json.dumps([plain(one), pointing]))
    externals = [
        (one.record_type, one.system, _name(one), one.state, plain(one.record_id) if one.record_id in cells else "")
        for one in crm.external_ids.iterate()
    ]
    return [sorted(found), sorted(externals)]


def _name(one: ExternalId) -> str:
    return "an id of ours" if one.system == "crm-core" else one.external


def _ledger(crm: CRM) -> list[Any]:
    found: list[Any] = []
    position = 0
    while entries := crm.ledger.history.following(position, 500):
        for entry in entries:
            position = entry.position
            images = sorted(
                [change.table, change.action, sorted(change.cells)]
                for batch in crm.ledger.history.changes(entry)
                for change in batch
            )
            label = crm.ledger.get(entry.operation_id).label
            found.append([entry.position, label, sorted([table, n] for table, _, _, n in entry.notes), images])
    return found


def require_sound(crm: CRM, where: str) -> None:
    """Go on only with a database in which nothing is wrong."""
    wrong = [fault for check in verify(crm.storage, crm.registry) if check.state == "wrong" for fault in check.faults]
    chain = crm.ledger.verify()
    wrong += [] if chain.broken is None else [f"the chain breaks at {chain.broken.position}: {chain.broken.reason}"]
    require(not wrong, f"{where}: {'; '.join(wrong[:3])}")
