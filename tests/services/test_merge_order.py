"""Merges that meet in a customer, taken back in any order with edits between: nobody keeps what was another's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crm_core import CRM, Customer, Deal, Interaction, Participant
from crm_core.errors import CrmError, UndoRefused
from crm_core.records import ContactPoint, Relation
from crm_core.values import format_id
from tests.databases import DATABASES, drop_all, new_url
from tests.opening import content
from tests.services.test_merge import Card, Club, ClubPlugin


@pytest.fixture(autouse=True, scope="module")
def databases() -> Iterator[None]:
    yield
    drop_all()


@pytest.fixture(params=["memory:", *DATABASES])
def crm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CRM]:
    """A CRM on each database that is at hand."""
    name = str(request.param)
    with CRM.open(name if name == "memory:" else new_url(name, tmp_path), plugins=[ClubPlugin()]) as opened:
        yield opened


def people(crm: CRM, *cities: str | None) -> list[int]:
    return [crm.customers.add(Customer(name=f"C{n}", city=city)).id for n, city in enumerate(cities)]


def merged(crm: CRM, keep: int, gone: int, **choose: str) -> int:
    return int(crm.customers.merge(keep, gone, choose=choose).operation_id or 0)  # type: ignore[arg-type]


def undone(crm: CRM, operation: int) -> int:
    return int(crm.ledger.undo(operation).undo_id or 0)


def city(crm: CRM, customer: int) -> str | None:
    return crm.customers.get(customer).city


def test_an_edit_undone_after_the_merge_before_it_gives_nobody_the_value_of_another(crm: CRM) -> None:
    keep, gone = people(crm, None, "Rome")
    merge = merged(crm, keep, gone)
    crm.customers.edit(crm.customers.get(keep).evolve(city="Oslo"))
    edit = crm.ledger.resolve("last")
    assert [("city",)] == [item.fields for item in crm.ledger.undo(merge).kept]
    undone(crm, edit)
    assert (None, "Rome") == (city(crm, keep), city(crm, gone))
    undone(crm, crm.ledger.resolve("last"))
    assert "Oslo" == city(crm, keep)


def test_an_edit_undone_and_the_merge_and_a_later_edit_give_nobody_the_value_of_another(crm: CRM) -> None:
    keep, gone = people(crm, "Pisa", "Rome")
    merge = merged(crm, keep, gone, city="gone")
    for place in ("Oslo", "Bari"):
        crm.customers.edit(crm.customers.get(keep).evolve(city=place))
        edit = crm.ledger.resolve("last")
        if place == "Oslo":
            undone(crm, edit)
    undone(crm, merge)
    undone(crm, edit)
    assert ("Pisa", "Rome") == (city(crm, keep), city(crm, gone))


def test_a_record_handed_on_or_deleted_after_a_merge_goes_back_to_whose_it_was(crm: CRM) -> None:
    keep, gone, third = people(crm, None, None, None)
    deal = crm.deals.add(Deal(title="D", customer_id=gone))
    call = crm.interactions.add(Interaction(customer_id=gone, body="Hello"))
    merge = merged(crm, keep, gone)
    crm.deals.edit(crm.deals.get(deal.id).evolve(customer_id=third))
    handed = crm.ledger.resolve("last")
    crm.interactions.delete(call.id)
    deleted = crm.ledger.resolve("last")
    for one in (merge, handed, deleted):
        undone(crm, one)
    assert (gone, gone) == (crm.deals.get(deal.id).customer_id, crm.interactions.get(call.id).customer_id)


def test_of_two_merges_the_later_of_which_replaced_a_value_the_first_may_be_undone_first(crm: CRM) -> None:
    keep, ada, bob = people(crm, None, "Rome", "Oslo")
    before = content(crm)
    first, second = merged(crm, keep, ada), merged(crm, keep, bob, city="gone")
    undone(crm, first)
    assert ("Oslo", "Rome") == (city(crm, keep), city(crm, ada))
    undone(crm, second)
    assert before == content(crm)


def test_a_merge_is_not_undone_before_a_later_one_that_rests_on_what_it_brought(crm: CRM) -> None:
    keep, ada, bob = people(crm, None, None, None)
    for one in (ada, bob):
        crm.contact_points.add(ContactPoint(customer_id=one, kind="email", value="both@example.org"))
    before = content(crm)
    first, second = merged(crm, keep, ada), merged(crm, keep, bob)
    held = content(crm)
    said = crm.ledger.undo(first, dry_run=True)
    assert ({}, ["customer"]) == (dict(said.reversed), [item.type for item in said.refused])
    with pytest.raises(UndoRefused, match=f"later operation {format_id(second)} .* builds on it: undo that first"):
        crm.ledger.undo(first)
    assert held == content(crm)
    undos = [undone(crm, second), undone(crm, first)]
    assert before == content(crm)
    with pytest.raises(UndoRefused, match=f"later operation {format_id(undos[1])} .* builds on it: undo that first"):
        crm.ledger.undo(undos[0])
    for one in reversed(undos):
        undone(crm, one)
    assert held == content(crm)


@pytest.mark.parametrize("what", ["tag", "chosen"])
def test_so_it_is_when_the_later_one_found_a_tag_there_or_chose_what_the_first_had_brought(what: str, crm: CRM) -> None:
    keep, ada, bob = people(crm, None, "Rome" if what == "chosen" else None, "Oslo" if what == "chosen" else None)
    for one in (ada, bob) if what == "tag" else ():
        crm.customers.edit(crm.customers.get(one).evolve(tags=("vip",)))
    before = content(crm)
    first, second = merged(crm, keep, ada), merged(crm, keep, bob)
    with pytest.raises(UndoRefused, match=f"later operation {format_id(second)}"):
        crm.ledger.undo(first)
    undone(crm, second)
    undone(crm, first)
    assert before == content(crm)


def test_merges_into_one_customer_that_share_nothing_are_undone_in_any_order(crm: CRM) -> None:
    keep, ada, bob = people(crm, "Pisa", None, None)
    deals = [crm.deals.add(Deal(title="D", customer_id=one)).id for one in (ada, bob)]
    first, second = merged(crm, keep, ada), merged(crm, keep, bob)
    undone(crm, first)
    assert [ada, keep] == [crm.deals.get(one).customer_id for one in deals]
    undone(crm, second)
    assert [ada, bob] == [crm.deals.get(one).customer_id for one in deals]


def test_two_are_not_joined_again_without_what_the_one_had_given_the_other(crm: CRM) -> None:
    keep, gone = people(crm, None, "Rome")
    merge = merged(crm, keep, gone)
    crm.customers.edit(crm.customers.get(keep).evolve(city="Oslo"))
    edit = crm.ledger.resolve("last")
    undo = undone(crm, merge)
    undone(crm, edit)
    before = content(crm)
    with pytest.raises(UndoRefused, match="was taken back since; merge the two again instead"):
        crm.ledger.undo(undo)
    assert before == content(crm)


@pytest.mark.parametrize("merging", [True, False], ids=["merged", "deleted"])
def test_a_text_of_somebody_who_is_away_returns_with_them_or_not_at_all(crm: CRM, merging: bool) -> None:
    first, second, third = people(crm, None, None, None)
    deal = crm.deals.add(Deal(customer_id=first, title="of the first"))
    crm.deals.edit(deal.evolve(customer_id=second, title="of the second"))
    edit = crm.ledger.resolve("last")
    if merging:
        merged(crm, third, first)
    else:
        crm.customers.delete(first)
    away = crm.ledger.resolve("last")
    with pytest.raises(UndoRefused, match=f"{'merged on' if merging else 'deleted'} .* {format_id(away)} .*undo that"):
        crm.ledger.undo(edit)
    assert (second, "of the second") == (crm.deals.get(deal.id).customer_id, crm.deals.get(deal.id).title)
    undone(crm, away)
    undone(crm, edit)
    assert (first, "of the first") == (crm.deals.get(deal.id).customer_id, crm.deals.get(deal.id).title)


def test_a_text_of_the_former_customer_does_not_return_without_them(crm: CRM) -> None:
    first, second, third = people(crm, None, None, None)
    deal = crm.deals.add(Deal(customer_id=first, title="of the first"))
    crm.deals.edit(deal.evolve(customer_id=second, title="of the second"))
    edit = crm.ledger.resolve("last")
    crm.deals.edit(crm.deals.get(deal.id).evolve(customer_id=third))
    later = crm.ledger.resolve("last")
    with pytest.raises(UndoRefused, match="edited since"):
        crm.ledger.undo(edit)
    assert "of the second" == crm.deals.get(deal.id).title
    undone(crm, later)
    undone(crm, edit)
    assert (first, "of the first") == (crm.deals.get(deal.id).customer_id, crm.deals.get(deal.id).title)


# In any order


def filled(crm: CRM, random: Random) -> list[int]:
    """Add four people who share addresses, tags and relations, each with words of their own."""
    found = []
    for n in range(4):
        made = Customer(
            name=f"w{n}x",
            city=random.choice([None, f"w{n}c"]),
            next_step=random.choice([None, f"w{n}n"]),
            tags=tuple(random.sample([f"w{n}t", f"w{n}u", "both"], random.randrange(3))),
        ).with_ext(Club(level=random.choice([None, f"w{n}l"]), number=random.choice([None, f"w{n}"])))
        found.append(crm.customers.add(made).id)
    for n, person in enumerate(found):
        others = [one for one in found if one != person]
        for _ in range(random.randrange(3)):
            address = random.choice(["a@x.org", "b@x.org", f"w{n}@x.org"])
            label = random.choice([None, f"w{n}lab"])
            with suppress(CrmError):  # they have it already
                crm.contact_points.add(ContactPoint(customer_id=person, kind="email", value=address, label=label))
        deal = crm.deals.add(Deal(title=f"w{n}d", customer_id=person))
        crm.interactions.add(Interaction(customer_id=person, body=f"w{n}b"))
        if random.random() < 0.6:
            crm.records(Card).add(Card(customer_id=person, balance=n, note=random.choice([None, f"w{n}note"])))
            crm.relations.add(Relation(customer_id=person, other_id=random.choice(others), kind="household"))
            crm.records(Participant).add(Participant(deal_id=deal.id, customer_id=random.choice(found), role="buyer"))
    return found


def changed(crm: CRM, random: Random, there: list[int], word: str) -> None:
    """Edit, hand on or delete something."""
    kind = random.choice(["customer", "deal", "contact_point", "card", "interaction", "relation", "participant"])
    if kind == "customer":
        customer = crm.customers.get(random.choice(there))
        crm.customers.edit(customer.evolve(city=word, next_step=word, tags=(*customer.tags, word)))
        return
    record = random.choice(crm.records(kind).find().records)
    changes = {
        "deal": {"customer_id": random.choice(there), "title": word},
        "contact_point": {"label": word},
        "card": {"note": word},
    }
    if kind in changes:
        crm.records(kind).edit(record.evolve(**changes[kind]))
    else:
        crm.records(kind).delete(record.id)


def law(url: str, random: Random) -> None:
    """Merge and edit, take all of it back in any order, then take that back too."""
    with CRM.open(url, plugins=[ClubPlugin()]) as crm:
        persons = filled(crm, random)
        before = content(crm)
        only_merges = random.random() < 0.5
        done: list[int] = []
        for n in range(random.randrange(2, 7)):
            there = [one for one in persons if crm.storage.get_many("customers", [one])]
            if only_merges or random.random() < 0.5:
                keep, gone = random.sample(there, 2) if len(there) > 1 else (0, 0)
                said = crm.customers.merge(keep, gone, dry_run=True) if keep else None
                choose = {one.path: random.choice(("keep", "gone")) for one in said.conflicts} if said else {}
                done += [merged(crm, keep, gone, **choose)] if keep else []
                continue
            with suppress(CrmError, IndexError):  # something needs it, or there is none
                changed(crm, random, there, f"e{n}")
                done.append(crm.ledger.resolve("last"))
        after = content(crm)
        undos = in_any_order(crm, done, random)
        assert before == content(crm)
        if only_merges:
            for one in reversed(undos):
                undone(crm, one)
            assert after == content(crm)
        assert crm.ledger.verify().intact


def in_any_order(crm: CRM, operations: list[int], random: Random) -> list[int]:
    """Undo operations, each as soon as it is not refused; return the undos."""
    waiting, undos = random.sample(operations, len(operations)), []
    while waiting:
        count = len(waiting)
        for one in list(waiting):
            with suppress(UndoRefused):
                # An edit on which a later one was made goes back only as far as that has.
                if crm.ledger.get(one).kind == "merge" or not crm.ledger.undo(one, dry_run=True).kept:
                    undos.append(undone(crm, one))
                    waiting.remove(one)
        assert len(waiting) < count, "each names another one to undo first, and none can be"
    return undos


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
@example(seed=7)
@example(seed=10)
@example(seed=16777215)
def test_whatever_the_order_in_which_merges_and_edits_are_taken_back_all_is_as_it_was(seed: int) -> None:
    law("memory:", Random(seed))


@pytest.mark.parametrize("database", DATABASES)
def test_so_it_is_on_databases(database: str, tmp_path: Path) -> None:
    law(new_url(database, tmp_path), Random(10))


@pytest.mark.parametrize("shell_stays", [True, False], ids=["the shell stays", "the shell goes"])
def test_a_merge_with_who_was_erased_before_is_taken_back(crm: CRM, shell_stays: bool) -> None:
    shell, other = people(crm, "Rome", "Oslo")
    deal = crm.deals.add(Deal(customer_id=shell, title="Licence"))
    crm.privacy.erase(shell)
    before = content(crm)
    merge = merged(crm, shell, other) if shell_stays else merged(crm, other, shell)
    joined = content(crm)
    apart = undone(crm, merge)
    assert before == content(crm)
    assert shell == crm.deals.get(deal.id).customer_id
    again = undone(crm, apart)
    assert joined == content(crm)
    undone(crm, again)
    crm.privacy.erase(other)
    with pytest.raises(UndoRefused, match="was erased since"):
        crm.ledger.undo(crm.ledger.operations(limit=2)[1].id)
