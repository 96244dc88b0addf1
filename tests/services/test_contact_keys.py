"""Keys of contact points: the kernel's own, a plugin's choice, and what both mean for looking a customer up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core import CRM, ContactPoint, Customer, hookimpl
from crm_core.errors import InvalidValue, PluginError, UsageError
from crm_core.events import ContactKeyWanted
from tests.opening import STORAGES, content, url_of


class Codes:
    """Chooses keys of phone numbers with a trunk zero, where it knows the country; can be told to know or to fail.

    Its countries are its own, so that an installed plugin has no say in them.
    """

    def __init__(self) -> None:
        self.codes = {"XX": "+49", "YY": "+374"}
        self.fails = False

    @hookimpl
    def choose_contact_key(self, event: ContactKeyWanted) -> str | None:
        if self.fails:
            raise RuntimeError("no numbering plan today")
        country = event.country or event.policies.get("codes", {}).get("country", "")
        if event.kind == "phone" and event.key.startswith("0") and country in self.codes:
            return self.codes[country] + event.key[1:]
        return None


@pytest.fixture
def codes() -> Codes:
    return Codes()


@pytest.fixture(params=STORAGES)
def crm(request: pytest.FixtureRequest, tmp_path: Path, codes: Codes) -> Iterator[CRM]:
    with CRM.open(url_of(str(request.param), tmp_path), plugins=[codes]) as opened:
        yield opened


def keys(crm: CRM, customer: Customer) -> list[Any]:
    return [point.key for point in crm.customers.contact_points(customer.id)]


def test_a_plugin_chooses_the_key_by_the_country_of_the_customer(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", country="XX"), phone="0170 1234567")
    eve = crm.customers.add(Customer(name="Eve"), phone="0170 1234567")
    assert [["+491701234567"], ["01701234567"]] == [keys(crm, ada), keys(crm, eve)]
    assert [ada.id] == crm.customers.reached_at("phone", "+49 170 1234567")
    assert [eve.id] == crm.customers.reached_at("phone", "0170/1234567")
    assert [ada.id, eve.id] == crm.customers.reached_at("phone", "0170/1234567", country="XX")
    assert [ada.id] == [one.customer_id for one in crm.contact_points.reached_at("phone", "+491701234567")]
    assert ada.id == crm.resolve("customer", "0049 170 1234567")


def test_many_addresses_are_looked_up_at_once_as_each_is_alone(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada", country="XX"), phone="0170 1234567", email="home@example.org")
    crm.customers.add(Customer(name="Eve"), phone="0170 1234567", email="HOME@example.org")
    wanted = [
        ("phone", "0170/1234567", "XX"),
        ("phone", "0170 1234567", None),
        ("email", "Home@Example.org", None),
        ("email", "nobody@example.org", None),
        ("phone", "+49 170 1234567", None),
    ]
    alone = [crm.contact_points.reached_at(kind, value, country=country) for kind, value, country in wanted]
    many = crm.contact_points.reached_at_many(wanted)
    assert [2, 1, 2, 0, 1] == [len(points) for points in many]
    assert [{one.id for one in points} for points in alone] == [{one.id for one in points} for points in many]
    assert [[], []] == crm.contact_points.reached_at_many([("email", "no address", None), ("phone", "", None)])


def test_the_countries_of_a_chunk_are_asked_for_at_once(crm: CRM, monkeypatch: pytest.MonkeyPatch) -> None:
    people = crm.customers.add_many(Customer(name=f"P{n}", country="YY" if n % 2 else "XX") for n in range(50))
    asked: list[str] = []
    find = crm.storage.find

    def counted(table: str, *rest: Any, **more: Any) -> Any:
        asked.append(table)
        return find(table, *rest, **more)

    monkeypatch.setattr(crm.storage, "find", counted)
    points = [ContactPoint(customer_id=one.id, kind="phone", value=f"010 5000{n}") for n, one in enumerate(people)]
    stored = crm.contact_points.add_many(points)
    assert ["+491050000", "+3741050001"] == [point.key for point in stored[:2]]
    assert 2 == asked.count("customers"), "once for the countries, once for the reference"


def test_a_plugin_that_fails_refuses_the_contact_point_by_name(crm: CRM, codes: Codes) -> None:
    ada = crm.customers.add(Customer(name="Ada", country="XX"))
    codes.fails = True
    with pytest.raises(PluginError, match="choose_contact_key: RuntimeError: no numbering plan today"):
        crm.contact_points.add(ContactPoint(customer_id=ada.id, kind="phone", value="0170 1234567"))
    assert 0 == crm.contact_points.count()


def test_what_is_no_number_is_refused_before_a_plugin_is_asked(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", country="XX"))
    with pytest.raises(InvalidValue, match="is not a phone number"):
        crm.contact_points.add(ContactPoint(customer_id=ada.id, kind="phone", value="4.41E+11"))


def test_old_keys_are_made_anew_as_one_operation_and_undo_brings_them_back(crm: CRM, codes: Codes) -> None:
    codes.codes = {}
    ada = crm.customers.add(Customer(name="Ada", country="XX"), phone="0170 1234567", email="ada@example.org")
    eve = crm.customers.add(Customer(name="Eve", country="YY"), phone="010 500 000")
    before = content(crm)
    codes.codes = {"XX": "+49", "YY": "+374"}
    dry = crm.contact_points.normalise(dry_run=True)
    assert (3, {"phone": 2}, before) == (dry.read, dry.changed, content(crm))
    assert ["+491701234567", "+37410500000"] == [key for _, key in dry.examples]
    done = crm.contact_points.normalise()
    assert dry.changed == done.changed
    assert ["+37410500000"] == keys(crm, eve)
    assert "0170 1234567" in [point.value for point in crm.customers.contact_points(ada.id)]
    assert {} == crm.contact_points.normalise().changed
    report = crm.ledger.undo(crm.ledger.resolve("last"))
    assert ({"contact_point": 2}, (), before) == (report.reversed, report.kept, content(crm))


def test_undoing_new_keys_leaves_a_number_that_was_edited_since(crm: CRM, codes: Codes) -> None:
    codes.codes = {}
    ada = crm.customers.add(Customer(name="Ada", country="XX"), phone="0170 1234567")
    codes.codes = {"XX": "+49"}
    crm.contact_points.normalise()
    operation = crm.ledger.resolve("last")
    point = crm.customers.contact_points(ada.id)[0]
    crm.contact_points.edit(point.evolve(value="0171 7654321"))
    with pytest.raises(Exception, match="nothing can be taken back"):
        crm.ledger.undo(operation)
    assert ["+491717654321"] == keys(crm, ada)


def test_undoing_an_edit_gives_the_key_that_the_plugin_chooses(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada", country="XX"), phone="0170 1234567")
    point = crm.customers.contact_points(ada.id)[0]
    crm.contact_points.edit(point.evolve(value="0171 7654321"))
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert ["+491701234567"] == keys(crm, ada)


def test_all_keys_are_not_made_anew_inside_a_transaction(crm: CRM) -> None:
    with pytest.raises(UsageError, match="inside a transaction"), crm.transaction():
        crm.contact_points.normalise()


def test_a_person_on_a_messenger_is_known_by_number_or_by_the_id_that_it_tells_in_its_place(crm: CRM) -> None:
    ada, eve = crm.customers.add(Customer(name="Ada")), crm.customers.add(Customer(name="Eve"))
    for person, value in ((ada, "01234567890A="), (eve, "+49 170 1234567")):
        crm.contact_points.add(ContactPoint(customer_id=person.id, kind="viber", value=value))
    crm.contact_points.add(ContactPoint(customer_id=ada.id, kind="whatsapp", value="US.13491208655302741918"))
    assert [ada.id] == crm.customers.reached_at("whatsapp", "US.13491208655302741918")
    assert [ada.id] == crm.customers.reached_at("viber", "01234567890A=")
    assert [eve.id] == crm.customers.reached_at("viber", "0049 170 1234567")
    for kind, value in (
        ("viber", " "),
        ("viber", "555 1234 / 555 1235"),
        ("viber", "4.41E+11"),
        ("phone", "01234567890A="),
        ("phone", "US.13491208655302741918"),
        ("whatsapp", "US 555"),
    ):
        with pytest.raises(InvalidValue):
            crm.customers.reached_at(kind, value)
