"""A person's data: all of it is found, and after an erasure none of it is left, by the declarations of every type.

The canary is a person whose every personal field, of every record type of every plugin, holds a word found nowhere
else: in what is there, in what was changed, deleted, merged and undone since.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, Customer, Deal, Interaction, Money, Record, Relation, Sale, hookimpl
from crm_core.errors import CrmError, NotFound, UndoRefused, UsageError
from crm_core.events import CustomersChanged
from crm_core.records import (
    ContactPoint,
    Extension,
    LifecycleChange,
    Participant,
    RecordType,
    day,
    extension,
    record,
    reference,
    text,
)
from crm_core.values import format_id
from crm_loyalty.plugin import LoyaltyPlugin
from tests.databases import DATABASES, new_url
from tests.opening import STORAGES, content, url_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BORN = date(1815, 12, 10)
_MANIFESTS = "examples/*/*/crm-plugin.toml"
ABOUT_NOBODY = {"team", "user", "product"}
"""Types that are about no customer: of these a user's name and e-mail are personal, and the user's own."""


@extension("clinic", extends=Customer)
class Clinic(Extension):
    allergy: str | None = text("Allergy", default=None, personal=True)


@extension("papers", extends=Deal)
class Papers(Extension):
    signer: str | None = text("Signer", default=None, personal=True)


@record("letter")
class Letter(Record):
    """It needs an address, and has a personal text that cannot be empty."""

    contact_point_id: int = reference("contact_point", "To")
    body: str = text("Body", personal=True)


@record("visit")
class Visit(Record):
    """It is no part of a customer, is known by a personal name, and may point at an address."""

    guest_id: int | None = reference("customer", "Guest", default=None)
    contact_point_id: int | None = reference("contact_point", "Reached at", default=None)
    badge: str = text("Badge", personal=True, unique=True)
    birthday: date | None = day("Birthday", default=None, personal=True)


class ClinicPlugin:
    """A plugin with personal records and fields of its own."""

    def __init__(self) -> None:
        self.events: list[CustomersChanged] = []

    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        return [Letter, Visit]

    @hookimpl
    def register_fields(self) -> Iterable[type[Extension]]:
        return [Clinic, Papers]

    @hookimpl
    def on_customers_changed(self, event: CustomersChanged) -> None:
        self.events.append(event)


class Loyalty:
    """The example's records and fields; as code of its own it may hand over no migration of its distribution."""

    register_fields = LoyaltyPlugin.register_fields
    register_record_types = LoyaltyPlugin.register_record_types
    prepare_customers = LoyaltyPlugin.prepare_customers
    on_sales_changed = LoyaltyPlugin.on_sales_changed


TOML = """
[storage]
url = "{url}"
[crm]
currency = "EUR"
[fields.customer.passport]
type = "text"
personal = true
[fields.sale.buyer]
type = "text"
personal = true
"""


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    """The storages that need no server; the canary meets the others."""
    return str(request.param)


@pytest.fixture
def workspace(storage: str, tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "crm.toml").write_text(TOML.format(url=url_of(storage, folder)), "utf-8")
    return folder


@pytest.fixture
def clinic() -> ClinicPlugin:
    return ClinicPlugin()


@pytest.fixture
def crm(workspace: Path, clinic: ClinicPlugin) -> Iterator[CRM]:
    with CRM.open(workspace, plugins=[Loyalty(), clinic]) as opened:
        yield opened


class World:
    """Fills a CRM with records about a person: `word` is the beginning of every personal value, `used` all of them."""

    def __init__(self, crm: CRM, word: str) -> None:
        self.crm = crm
        self.word = word
        self.used: list[str] = []
        self.ids: dict[str, int] = {}
        self.keys = 0
        self.redo = self.handed = 0
        self.person = self.stored("customer")
        self.other = crm.customers.add(Customer(name="Somebody")).id

    def value(self, what: str) -> str:
        self.used.append(f"{self.word}{len(self.used):03}{what.replace('_', '').replace('.', '')}")
        return self.used[-1]

    def fill(self) -> None:
        """Store a record of every type, change it, and delete another one."""
        kinds = [k for k in self.crm.registry.types.values() if not k.declaration.internal and k.name != "customer"]
        for kind in kinds:
            self.ids[kind.name] = self.stored(kind.name)
        for kind in kinds:
            if not kind.declaration.append_only and kind.name not in ABOUT_NOBODY:
                service = self.crm.records(kind.name)
                before = service.get(self.ids[kind.name])
                service.edit(self.with_values(kind, before))
            gone = self.stored(kind.name)
            self.crm.records(kind.name).delete(gone)
        customer = self.crm.customers.get(self.person)
        self.crm.customers.edit(self.with_values(self.crm.registry.named("customer"), customer))

    def stored(self, name: str) -> int:
        kind = self.crm.registry.named(name)
        made = self.with_values(kind, self.blank(kind))
        tells = name not in ABOUT_NOBODY and any(field.declaration.personal for field in kind.fields.values())
        self.keys += 1
        key = self.value(f"key{name}") if tells else f"{self.word[0]}{name}{self.keys}"
        return self.crm.records(name).add(made, external=("erp", key)).id

    def blank(self, kind: RecordType) -> Record:
        values: dict[str, Any] = {}
        named = False
        for field in kind.fields.values():
            declared = field.declaration
            if field.extension or declared.derived:
                continue
            if declared.references == "customer":
                values[field.name] = self.person if not named else self.other
                named = True
            elif declared.references and (declared.required or declared.references != kind.name):
                values |= {field.name: self.ids[declared.references]} if declared.references in self.ids else {}
            elif declared.required:
                together = any(field.name in columns for columns in kind.declaration.unique)
                unique = declared.unique or (together and not declared.choices)
                self.keys += unique
                word = f"x{self.keys}{self.word[0]}" if unique else (declared.choices or ("x",))[-1]
                filled = {"integer": 1, "moment": NOON, "text": word}
                values[field.name] = filled[declared.kind]
        values |= {"kind": "web"} if kind.name == "contact_point" else {}
        values |= {"amount": Money(7, "EUR")} if kind.name in ("deal", "sale") else {}
        return kind.cls(**values)

    def with_values(self, kind: RecordType, made: Record) -> Record:
        """Give every personal field of a record a value that is nowhere else."""
        if kind.name in ABOUT_NOBODY:
            return made
        for field in kind.fields.values():
            declared = field.declaration
            if not declared.personal or declared.derived:
                continue
            value: Any = {"text": lambda f=field: self.value(kind.name + f.path), "day": lambda: BORN}.get(
                declared.kind, lambda f=field: (self.value("tag"), self.value("tag"))
            )()
            if field.extension == "fields":
                made = made.with_fields(**{field.name: value})
            elif field.extension:
                added = {**made.extensions.get(field.extension, {}), field.name: value}
                made = made.evolve(extensions={**made.extensions, field.extension: added})
            else:
                made = made.evolve(**{field.name: value})
        return made

    def trouble(self) -> None:
        """Merge another customer in, take a merge and an import back, link and unlink."""
        crm = self.crm
        twin = crm.customers.add(
            Customer(name=self.value("twin"), city=self.value("twincity")), external=("erp", self.value("twinkey"))
        )
        crm.contact_points.add(ContactPoint(customer_id=twin.id, kind="web", value=self.value("twinweb")))
        crm.relations.add(Relation(customer_id=twin.id, other_id=self.person, kind="x", title=self.value("twintitle")))
        crm.customers.merge(self.person, twin)
        second = crm.customers.add(Customer(name="Second"))
        crm.interactions.add(Interaction(customer_id=self.person, body=self.value("undone")))
        crm.ledger.undo(crm.ledger.resolve("last"))
        crm.customers.merge(self.person, second)
        moved = crm.interactions.add(Interaction(customer_id=None, deal_id=self.ids["deal"], body=self.value("ondeal")))
        crm.interactions.edit(moved.evolve(subject=self.value("ondealsubject")))
        crm.records(LifecycleChange).add(LifecycleChange(customer_id=self.person, to_state="lost", at=NOON))

    def histories(self) -> None:
        """Merge and come apart, hand over and back: what others' records, and the ledger, have of it is theirs."""
        crm = self.crm
        kept = crm.customers.add(Customer(name="Kept"), email="kept@example.org")
        gone = crm.customers.get(self.person)
        for value in ("shared.example.org", "kept.example.org"):
            crm.contact_points.add(ContactPoint(customer_id=kept.id, kind="web", value=value))
        crm.contact_points.add(
            ContactPoint(customer_id=self.person, kind="web", value="shared.example.org", label=self.value("label"))
        )
        first = crm.customers.merge(kept.id, gone.id, choose={"name": "gone"})
        crm.customers.edit(crm.customers.get(kept.id).evolve(city="Elsewhere", tags=()))
        second = crm.customers.merge(self.other, kept.id)
        operation = second.operation_id
        for _ in range(3):
            operation = crm.ledger.undo(int(operation or 0)).undo_id
        crm.ledger.undo(int(first.operation_id or 0))
        self.redo = crm.ledger.resolve("last")

        mine = crm.deals.add(Deal(title=self.value("title"), customer_id=self.person, next_step=self.value("step")))
        handed = crm.deals.edit(mine.evolve(customer_id=self.other, title="Somebody's"))
        self.handed = crm.ledger.resolve("last")
        crm.deals.edit(handed.evolve(next_step=None))
        note = crm.interactions.add(Interaction(customer_id=None, deal_id=handed.id, body="on somebody's deal"))
        crm.deals.edit(crm.deals.get(handed.id).evolve(customer_id=self.person))
        crm.interactions.edit(note.evolve(body=self.value("fromdeal")))
        crm.deals.edit(crm.deals.get(handed.id).evolve(customer_id=self.other))
        crm.interactions.edit(crm.interactions.get(note.id).evolve(body="somebody's again"))
        left = crm.interactions.add(Interaction(customer_id=self.person, body=self.value("left")))
        left = crm.interactions.edit(left.evolve(customer_id=self.other))
        crm.interactions.delete(left)


def holding(crm: CRM, word: str) -> list[tuple[str, Any]]:
    """Return every row of every table of the storage that holds a word, with its table."""
    manifest = crm.storage.schema()
    assert manifest is not None
    return [
        (table.name, row)
        for table in manifest.tables.values()
        for batch in crm.storage.scan(table.name, table.column_names)
        for row in batch
        if word in str(row)
    ]


def about(crm: CRM, word: str) -> dict[str, dict[int, str]]:
    """Return the records that hold a word, in what is there now."""
    return {
        name: {number: str(cells) for number, cells in records.items() if word in str(cells)}
        for name, records in content(crm).items()
    }


@pytest.fixture(params=["memory:", *DATABASES])
def cage(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A workspace on each database that is at hand."""
    database = str(request.param)
    url = database if database == "memory:" else new_url(database, tmp_path)
    (tmp_path / "crm.toml").write_text(TOML.format(url=url), "utf-8")
    return tmp_path


def test_every_personal_field_of_every_type_is_exported_and_then_erased(cage: Path) -> None:
    with CRM.open(cage, plugins=[Loyalty(), ClinicPlugin()]) as crm:
        let_loose(crm)
    found = [path.name for path in cage.rglob("*") if path.is_file() and b"canary" in path.read_bytes()]
    assert [] == found, "in the raw bytes of the files, free pages and logs among them"


def let_loose(crm: CRM) -> None:
    canary, witness = World(crm, "canary"), World(crm, "witness")
    for world in (canary, witness):
        world.fill()
        world.trouble()
        world.histories()
    reached = {k.name for k in crm.registry.types.values() if not k.declaration.internal} - ABOUT_NOBODY
    assert {"letter", "visit", "loyalty_entry", "sale_line", "consent", "relation", "interaction"} <= reached
    assert crm.customers.get(canary.person).birth_date == BORN == crm.records(Visit).get(canary.ids["visit"]).birthday

    assert crm.customers.search("canary").records, "by what is looked for after the erasure"

    told = json.dumps(crm.privacy.export(canary.person), ensure_ascii=False)
    assert [] == [value for value in canary.used if value not in told]
    assert "witness" not in told

    before, of_witness = content(crm), about(crm, "witness")
    said = crm.privacy.erase(canary.person, dry_run=True)
    assert before == content(crm)
    done = crm.privacy.erase(canary.person)
    assert attrs_but_time(said.receipt.to_json()) == attrs_but_time(done.receipt.to_json())
    assert [] == holding(crm, "canary")
    assert () == crm.customers.search("canary").records
    assert crm.customers.search("witness").records
    assert of_witness == about(crm, "witness")
    shell = crm.customers.get(canary.person)
    assert crm.records(Visit).get(canary.ids["visit"]).birthday is None
    with pytest.raises(UndoRefused, match=f"customer {format_id(canary.person)} was erased since"):
        crm.ledger.undo(canary.redo)
    assert (None, None, None, ()) == (shell.name, shell.city, shell.birth_date, shell.tags)
    assert crm.ledger.verify().intact
    assert done.receipt.images == crm.ledger.verify().emptied > 0
    assert all(one.reason and one.count for one in done.receipt.kept)
    again = crm.privacy.erase(canary.person).receipt
    assert ({}, {}, 0, 0) == (again.emptied, again.deleted, again.images, again.external_ids)
    assert "canary" not in json.dumps(crm.privacy.export(canary.person))
    served = not crm.settings.storage_url.startswith(("memory:", "sqlite:"))
    for operation in crm.ledger.operations(limit=1000) if not served else ():  # on servers: test_privacy_laws.py
        with suppress(UndoRefused):
            crm.ledger.undo(operation.id)
    assert [] == holding(crm, "canary"), "whatever is taken back then"
    assert served == bool(done.left_over), "what a server keeps is not ours to clear, and is said"


def test_the_canary_lives_in_every_example_that_keeps_records() -> None:
    root = Path(__file__).parents[2]
    manifests = [tomllib.loads(path.read_text("utf-8")) | {"at": path.parent.name} for path in root.glob(_MANIFESTS)]
    keeping = {one["at"] for one in manifests if {"register_record_types", "register_fields"} & set(one["hooks"])}
    assert {"crm_loyalty"} == keeping, "give the canary what else there is"


def attrs_but_time(receipt: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in receipt.items() if name not in ("at", "digest")}


def a_customer(crm: CRM) -> tuple[Customer, Deal, Sale]:
    """Store a customer with a deal that was won."""
    ada = crm.customers.add(
        Customer(name="Ada", country="GB", tags=("vip",)), email="ada@example.org", external=("erp", "17")
    )
    deal = crm.deals.move(crm.deals.add(Deal(title="For Ada", customer_id=ada.id, amount=Money("9", "EUR"))), "won")
    sale = crm.sales.of_deal(deal.id)
    assert sale is not None
    return crm.customers.get(ada.id), deal, sale


def test_money_stays_without_the_person(crm: CRM) -> None:
    ada, deal, sale = a_customer(crm)
    crm.privacy.erase(ada.id)
    shell, now = crm.customers.get(ada.id), crm.deals.get(deal.id)
    assert (None, "GB", ada.kind, ada.version + 1) == (shell.name, shell.country, shell.kind, shell.version)
    assert ("(erased)", deal.amount, deal.closed_at, ada.id) == (now.title, now.amount, now.closed_at, now.customer_id)
    assert (sale.amount, sale.sold_at, ada.id) == (lambda s: (s.amount, s.sold_at, s.customer_id))(
        crm.sales.get(sale.id)
    )
    assert [] == crm.customers.contact_points(ada.id)


def test_what_needs_what_goes_goes_with_it_and_the_rest_is_cut_loose(crm: CRM) -> None:
    ada, _, _ = a_customer(crm)
    bob = crm.customers.add(Customer(name="Bob"))
    (point,) = crm.customers.contact_points(ada.id)
    letter = crm.records(Letter).add(Letter(contact_point_id=point.id, body="Dear Ada"))
    visit = crm.records(Visit).add(Visit(guest_id=ada.id, contact_point_id=point.id, badge="A-1", birthday=BORN))
    crm.relations.add(Relation(customer_id=bob.id, other_id=ada.id, kind="household"))
    receipt = crm.privacy.erase(ada.id).receipt
    assert {"contact_point": 1, "letter": 1, "relation": 1, "customer_tag": 1} == dict(receipt.deleted)
    with pytest.raises(NotFound):
        crm.records(Letter).get(letter.id)
    now = crm.records(Visit).get(visit.id)
    assert (ada.id, None, f"(erased) {format_id(visit.id)}", None) == (
        now.guest_id, now.contact_point_id, now.badge, now.birthday,
    )  # fmt: skip
    assert "Bob" == crm.customers.get(bob.id).name


def test_why_a_deal_was_lost_goes_and_where_and_in_what_trade_somebody_is_stays(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", region="Kent", industry="mills", city="Ockham"))
    deal = crm.deals.add(Deal(title="For Ada", customer_id=ada.id))
    crm.deals.move(deal.id, "lost", lost_reason="Ada fell ill")
    crm.privacy.erase(ada.id)
    assert [] == holding(crm, "fell ill")
    shell = crm.customers.get(ada.id)
    assert ("Kent", "mills", None) == (shell.region, shell.industry, shell.city)


def test_what_changed_hands_is_somebody_elses_now_and_does_not_return_to_who_was_erased(crm: CRM) -> None:
    ada, bob, eve = (crm.customers.add(Customer(name=name)) for name in ("Ada", "Bob", "Eve"))
    deal = crm.deals.add(Deal(title="Adas mill", customer_id=ada.id, next_step="Adas step"))
    deal = crm.deals.edit(deal.evolve(customer_id=bob.id, title="Bobs mill"))
    handed = crm.ledger.resolve("last")
    deal = crm.deals.edit(deal.evolve(title="Bobs barn"))
    renamed = crm.ledger.resolve("last")
    crm.deals.edit(deal.evolve(customer_id=eve.id))
    receipt = crm.privacy.erase(ada.id).receipt
    assert {"deals of others": 1} == {one.what: one.count for one in receipt.kept if "others" in one.what}
    assert [] == holding(crm, "Adas mill")
    assert ("Bobs barn", "Adas step", eve.id) == (lambda d: (d.title, d.next_step, d.customer_id))(
        crm.deals.get(deal.id)
    )
    with pytest.raises(UndoRefused, match="it was erased"):
        crm.ledger.undo(handed)
    crm.ledger.undo(renamed)
    assert "Bobs mill" == crm.deals.get(deal.id).title, "what was never the person's can be undone as before"
    crm.privacy.erase(bob.id)
    assert [] == holding(crm, "Bobs barn")


def test_a_record_goes_not_back_to_who_was_erased(crm: CRM) -> None:
    ada, bob = (crm.customers.add(Customer(name=name)) for name in ("Ada", "Bob"))
    note = crm.interactions.add(Interaction(customer_id=ada.id))
    crm.interactions.edit(note.evolve(customer_id=bob.id))
    handed = crm.ledger.resolve("last")
    crm.interactions.edit(crm.interactions.get(note.id).evolve(body="about Bob"))
    crm.privacy.erase(ada.id)
    with pytest.raises(UndoRefused, match="its former customer_id was erased"):
        crm.ledger.undo(handed)
    assert ("about Bob", bob.id) == (lambda i: (i.body, i.customer_id))(crm.interactions.get(note.id))


def test_what_is_about_somebody_else_stays(crm: CRM) -> None:
    ada, deal, _ = a_customer(crm)
    bob = crm.customers.add(Customer(name="Bob").with_fields(passport="B1"))
    call = crm.interactions.add(Interaction(customer_id=bob.id, deal_id=deal.id, body="Bob asks about Ada's deal"))
    part = crm.records(Participant).add(Participant(deal_id=deal.id, customer_id=bob.id, role="buyer"))
    told = json.dumps(crm.privacy.export(ada.id))
    assert "Bob" not in told
    crm.privacy.erase(ada.id)
    assert (call, part, bob) == (
        crm.interactions.get(call.id), crm.records(Participant).get(part.id), crm.customers.get(bob.id),
    )  # fmt: skip


def test_the_key_of_an_erased_person_is_kept_as_a_digest_and_refused(crm: CRM) -> None:
    ada, _, _ = a_customer(crm)
    crm.privacy.erase(ada.id)
    (entry,) = crm.external_ids.find('record_type = "customer"')
    assert ("erased", "erased", ada.id, None) == (entry.system, entry.state, entry.record_id, entry.row_hash)
    assert "17" != entry.external
    known = crm.external_ids.find_many("customer", "erp", ["17", "18"])
    assert {"17": ("erp", "erased", ada.id)} == {k: (e.system, e.state, e.record_id) for k, e in known.items()}
    with pytest.raises(CrmError, match="which was erased"):
        crm.customers.add(Customer(name="Ada"), external=("erp", "17"))
    with pytest.raises(NotFound):
        crm.resolve("customer", "erp:17")
    crm.customers.add(Customer(name="Eve"), external=("erp", "18"))


def test_an_erasure_is_for_good_and_what_it_took_from_the_ledger_is_named(crm: CRM) -> None:
    ada, deal, _ = a_customer(crm)
    crm.customers.edit(ada.evolve(name="Ada L.", country="UK"))
    renamed = crm.ledger.resolve("last")
    gone = crm.interactions.add(Interaction(customer_id=ada.id, body="Hello"))
    crm.interactions.delete(gone)
    deleted = crm.ledger.resolve("last")
    done = crm.privacy.erase(ada.id)
    with pytest.raises(UndoRefused, match="for good"):
        crm.ledger.undo(int(done.operation_id or 0))
    for operation in (renamed, deleted):
        with pytest.raises(UndoRefused, match="it was erased"):
            crm.ledger.undo(operation)
    assert "lost" == crm.deals.move(deal.id, "lost").status


def test_a_merge_of_who_was_erased_since_does_not_come_apart(crm: CRM) -> None:
    ada, deal, _ = a_customer(crm)
    keep = crm.customers.add(Customer(name="Ada Lovelace"))
    merged = crm.customers.merge(keep, ada)
    crm.privacy.erase(keep.id)
    with pytest.raises(UndoRefused, match="it was erased"):
        crm.ledger.undo(int(merged.operation_id or 0))
    assert keep.id == crm.deals.get(deal.id).customer_id
    assert [] == holding(crm, "Ada")


def test_a_merge_that_cannot_give_back_what_another_needs_does_not_come_apart_by_halves(crm: CRM) -> None:
    keep, ada, bob = (crm.customers.add(Customer(name="X", city=city)) for city in (None, "Adas town", "Bobs town"))
    deal = crm.deals.add(Deal(title="D", customer_id=bob.id))
    visit = crm.records(Visit).add(Visit(guest_id=bob.id, badge="B-1"))
    first = crm.customers.merge(keep, ada)
    second = crm.customers.merge(keep.id, bob, choose={"city": "gone"})
    crm.ledger.undo(int(first.operation_id or 0))
    crm.privacy.erase(ada.id)
    assert [] == holding(crm, "Adas town")
    report = crm.ledger.undo(int(second.operation_id or 0))
    assert [(keep.id, True)] == [(item.id, "it was erased" in item.reason) for item in report.refused]
    assert [bob.id, bob.id] == [crm.deals.get(deal.id).customer_id, crm.records(Visit).get(visit.id).guest_id]
    assert "Bobs town" == crm.customers.get(bob.id).city


def test_the_receipt_is_kept_with_the_operation_and_proves_itself(crm: CRM) -> None:
    ada, _, _ = a_customer(crm)
    done = crm.privacy.erase(ada.id)
    kept = crm.ledger.get(int(done.operation_id or 0)).detail["receipt"]
    assert kept == done.receipt.to_json()
    plain = {name: value for name, value in kept.items() if name != "digest"}
    form = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(form.encode()).hexdigest() == kept["digest"]
    assert format_id(ada.id) == kept["person"]
    assert {"sales", "deals", "customers", "log of operations", "files outside the database"} <= {
        one["what"] for one in kept["kept"]
    }


def test_subscribers_are_told_that_something_changed_and_not_what_it_was(crm: CRM, clinic: ClinicPlugin) -> None:
    ada, _, _ = a_customer(crm)
    clinic.events.clear()
    crm.privacy.erase(ada.id)
    (event,) = clinic.events
    (change,) = event.changes
    assert (ada.id, "updated", (None, None)) == (change.id, change.action, change.fields["name"])


def test_who_is_not_there_or_is_asked_for_inside_a_transaction_is_refused(crm: CRM) -> None:
    for call in (crm.privacy.export, crm.privacy.erase):
        with pytest.raises(NotFound):
            call(12345)
    ada = crm.customers.add(Customer(name="Ada"))
    with crm.transaction(), pytest.raises(UsageError, match="inside a transaction"):
        crm.privacy.erase(ada.id)


@pytest.mark.database("sqlite")
def test_what_a_detached_plugin_keeps_is_named(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path)
    with CRM.open(url, plugins=[ClinicPlugin()]) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_ext(Clinic(allergy="nuts")))
        crm.records(Visit).add(Visit(guest_id=ada.id, badge="A-1"))
    with CRM.open(url) as crm:
        missing = {one["what"]: one for one in crm.privacy.export(ada.id)["not_included"]}
        kept = {one.what: one for one in crm.privacy.erase(ada.id).receipt.kept}
    assert {"customers.clinic__allergy": 1, "visits": 1} == {what: one["count"] for what, one in missing.items()}
    assert all("not at work; enable it and export again" in one["reason"] for one in missing.values())
    for what in ("customers.clinic__allergy", "visits"):
        assert "not at work" in kept[what].reason
        assert 1 == kept[what].count


def test_the_numbers_stay(crm: CRM) -> None:
    ada, _, _ = a_customer(crm)
    select = crm.tables.sales.c
    from sqlalchemy import select as choose

    question = choose(select.customer_id, select.amount, select.sold_at)
    before = crm.run(question)
    crm.privacy.erase(ada.id)
    assert before == crm.run(question)
    assert 1 == len(before)
