"""Customers are found by any part of their texts, on every storage, whatever way these came in or went."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from crm_core import CRM, Customer, Deal, Record, hookimpl
from crm_core.errors import UsageError
from crm_core.ledger.purge import purge
from crm_core.records import ContactPoint, Extension, extension, record, reference, text
from crm_core.services import search


@record("membership")
class Membership(Record):
    """A plugin's part of a customer, known by a number."""

    customer_id: int = reference("customer", "Customer", part_of=True)
    number: str = text("Number", key=True, searched=True)


@extension("club", extends=Customer)
class Club(Extension):
    nickname: str | None = text("Nickname", default=None, key=True, searched=True)


@record("song")
class Song(Record):
    """A plugin's record that is found by itself."""

    title: str = text("Title", key=True, searched=True)


class ClubPlugin:
    @hookimpl
    def register_record_types(self) -> Iterable[type[Record]]:
        return [Membership, Song]

    @hookimpl
    def register_fields(self) -> Iterable[type[Extension]]:
        return [Club]


def names(crm: CRM, typed: str) -> list[str | None]:
    """Return the names of the customers that are found, in order."""
    return [customer.name for customer in crm.customers.search(typed)]


def test_a_customer_is_found_by_name_email_and_phone_in_any_spelling(crm: CRM) -> None:
    crm.customers.add(Customer(name="Ada Lovelace"), email="Ada@Example.org", phone="+49 (170) 123-45-67")
    crm.customers.add(Customer(name="علي‌رضا كاظمي"), phone="۰۹۱۲ ۳۴۵ ۶۷۸۹")
    crm.customers.add(Customer(name="Արամ Խաչատրյան", kind="organisation"), email="info@բանկ.հայ")
    assert ["Ada Lovelace"] == names(crm, "lovelace ADA") == names(crm, "ovelac") == names(crm, "ada@example")
    assert ["Ada Lovelace"] == names(crm, "0170 123") == names(crm, "+49 170 1234567") == names(crm, "ada 4567")
    assert ["علي‌رضا كاظمي"] == names(crm, "علیرضا") == names(crm, "0912345") == names(crm, "+98 912 345 6789")
    assert ["Արամ Խաչատրյան"] == names(crm, "ԽԱՉԱ") == names(crm, "բանկ.հ")
    assert [] == names(crm, "nobody at all")


def test_the_page_says_why_and_goes_on(crm: CRM) -> None:
    crm.customers.add_many(Customer(name=f"Shop {number:03}") for number in range(45))
    crm.customers.add(Customer(name="Ada"), email="shop@example.org")
    first = crm.customers.search("shop")
    assert [f"Shop {number:03}" for number in range(20)] == [one.name for one in first]
    assert "shop 000" == first.matched[0]
    second = crm.customers.search("shop", after=first.next)
    third = crm.customers.search("shop", after=second.next)
    assert ["Shop 040", "Shop 041", "Shop 042", "Shop 043", "Shop 044", "Ada"] == [one.name for one in third]
    assert "shop@example.org" == third.matched[-1]
    assert third.next is None
    assert len(crm.customers.search("shop", limit=1)) == 1


def test_the_beginning_of_many_names_is_found_without_reading_all_that_have_it(
    crm: CRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    crm.customers.add_many(Customer(name=f"Shop {number:03}") for number in range(260))
    crm.customers.add(Customer(name="Zoe"), email="shop@example.org")
    crm.customers.add(Customer(name="The Shop"))
    crm.customers.add(Customer(name="Shop"))
    expected = ["Shop", *(f"Shop {number:03}" for number in range(260)), "The Shop", "Zoe"]
    found: list[str | None] = []
    with monkeypatch.context() as patch:
        patch.setattr(search, "_candidates", lambda *_: pytest.fail("all that have it are looked for"))
        page = crm.customers.search("shop")
        while len(found) < 240:
            found += [one.name for one in page]
            page = crm.customers.search("shop", after=page.next)
    found += [one.name for one in page] + [one.name for one in crm.customers.search("shop", after=page.next)]
    assert expected == found


def test_a_search_follows_edits_deletes_undo_and_merges(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada"), email="ada@example.org")
    ada = crm.customers.edit(ada.evolve(name="Grace"))
    assert ([], ["Grace"]) == (names(crm, "ada lov"), names(crm, "grace"))
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert ["Ada"] == names(crm, "ada")
    other = crm.customers.add(Customer(name="Countess"), phone="+44 20 7946 0000")
    crm.customers.merge(ada.id, other)
    assert (["Ada"], []) == (names(crm, "7946"), names(crm, "countess"))
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert ["Countess"] == names(crm, "7946") == names(crm, "countess")
    (point,) = crm.customers.contact_points(other.id)
    crm.contact_points.edit(point.evolve(value="+44 20 7946 1111"))
    assert ([], ["Countess"]) == (names(crm, "79460000"), names(crm, "79461111"))
    crm.customers.delete(other.id)
    assert [] == names(crm, "7946")
    crm.ledger.undo(crm.ledger.resolve("last"))
    assert ["Countess"] == names(crm, "79461111")


def test_an_erased_person_is_found_by_nothing(crm: CRM) -> None:
    ada = crm.customers.add(Customer(name="Ada Lovelace"), email="ada@example.org")
    assert ["Ada Lovelace"] == names(crm, "lovelace")
    crm.privacy.erase(ada.id)
    assert [] == names(crm, "lovelace") == names(crm, "ada@example.org")


def test_many_at_once_are_found_and_so_is_what_a_transaction_has_written(crm: CRM) -> None:
    stored = crm.customers.add_many(Customer(name=f"Bulk {number}") for number in range(1_500))
    crm.contact_points.add_many(
        ContactPoint(customer_id=one.id, kind="email", value=f"b{at}@example.org") for at, one in enumerate(stored)
    )
    assert ["Bulk 1234"] == names(crm, "1234") == names(crm, "b1234@")
    with crm.transaction():
        crm.customers.add(Customer(name="Newcomer"))
        assert ["Newcomer"] == names(crm, "newcom")
    assert ["Newcomer"] == names(crm, "newcom")


def test_plugins_let_customers_be_found_and_records_of_their_own(new: str) -> None:
    with CRM.open(new, plugins=[ClubPlugin()]) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_ext(Club(nickname="Enchantress")))
        crm.records(Membership).add(Membership(customer_id=ada.id, number="M-4711"))
        crm.records(Song).add(Song(title="Analytical Blues"))
        assert ["Ada"] == names(crm, "enchant") == names(crm, "m-4711") == names(crm, "ada 4711")
        assert ["Analytical Blues"] == [song.title for song in crm.records(Song).search("blues")]


def test_what_a_detached_plugin_keeps_lets_customers_be_found_until_it_is_purged(new: str, tmp_path: Path) -> None:
    if new == "memory:":
        pytest.skip("NOT RUN: nothing is kept in memory")
    with CRM.open(new, plugins=[ClubPlugin()]) as crm:
        ada = crm.customers.add(Customer(name="Ada").with_ext(Club(nickname="Enchantress")))
        crm.records(Membership).add(Membership(customer_id=ada.id, number="M-4711"))
    with CRM.open(new) as crm:
        assert ["Ada"] == names(crm, "enchant") == names(crm, "4711")
        purge(crm.storage, "ClubPlugin", "club")
    with CRM.open(new) as crm:
        assert ([], [], ["Ada"]) == (names(crm, "enchant"), names(crm, "4711"), names(crm, "ada"))
        assert crm.storage.check() in ([], None)


def test_what_is_not_searched_or_understood_is_said(crm: CRM) -> None:
    with pytest.raises(UsageError, match="deals are not searched"):
        crm.deals.search("licence")
    for wrong in ({"typed": " "}, {"typed": "a", "limit": 0}, {"typed": "a", "after": "?"}):
        with pytest.raises(UsageError):
            crm.customers.search(**wrong)  # type: ignore[arg-type]
    listed = crm.customers.add_many([Customer(name="A"), Customer(name="B")])
    assert 2 == len(listed)
    cursor = crm.customers.find(sort="name,kind", limit=1).next
    with pytest.raises(UsageError, match="no cursor of a search"):
        crm.customers.search("a", after=cursor)
    crm.deals.add(Deal(title="Licence"))


@pytest.mark.parametrize("field", [text("Word", searched=True), text("Word", searched=True, indexed=True)])
def test_a_searched_field_needs_a_key(field: str) -> None:
    @record("word")
    class Word(Record):
        word: str = field

    class Wrong:
        @hookimpl
        def register_record_types(self) -> Iterable[type[Record]]:
            return [Word]

    with pytest.raises(UsageError, match="no text key"):
        CRM.open("memory:", plugins=[Wrong()])


def test_a_searched_part_belongs_to_one_record() -> None:
    @record("bond")
    class Bond(Record):
        customer_id: int = reference("customer", "Customer", part_of=True)
        deal_id: int = reference("deal", "Deal", part_of=True)
        word: str = text("Word", key=True, searched=True)

    class Wrong:
        @hookimpl
        def register_record_types(self) -> Iterable[type[Record]]:
            return [Bond]

    with pytest.raises(UsageError, match="part of 2 records"):
        CRM.open("memory:", plugins=[Wrong()])
