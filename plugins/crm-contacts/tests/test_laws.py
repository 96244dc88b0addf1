"""What holds for any customers: what is found has no order, and merging it by rule loses nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crm_contacts.matching import Found, find_groups, grouped
from crm_contacts.merging import merge, plans
from crm_contacts.rules import rules_of
from crm_core import CRM, Customer, Deal, Money, Sale

NAMES = ["Ada Lovelace", "Lovelace, Ada", "Ada Lovelase", "علي کاظمی", "علی كاظمی", "Արամ Խաչատրյան", "Eve", None]
PERSON = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "city": st.sampled_from(["Yerevan", "تهران", None]),
        "kind": st.sampled_from(["person", "person", "organisation"]),
        "email": st.sampled_from(["ada@example.org", "ADA@example.org", "eve@example.org", None]),
        "phone": st.sampled_from(["+49 170 1234567", "۰۰۴۹۱۷۰۱۲۳۴۵۶۷", "+374 10 500000", None]),
        "external": st.sampled_from(["AB-1234567", "CD-7654321", None]),
    }
)
PEOPLE = st.lists(PERSON, min_size=2, max_size=7)


def stored(crm: CRM, people: list[dict[str, Any]]) -> list[int]:
    """Add people, each with a deal and a sale; return their ids."""
    ids = []
    for number, one in enumerate(people):
        fields = {name: one[name] for name in ("name", "city", "kind")}
        external = (f"system{number}", one["external"]) if one["external"] else None
        made = crm.customers.add(Customer(**fields), email=one["email"], phone=one["phone"], external=external)
        crm.deals.add(Deal(title=f"D{number}", customer_id=made.id))
        crm.sales.add(Sale(customer_id=made.id, amount=Money(number + 1, "EUR")))
        ids.append(made.id)
    return ids


def found_of(people: list[dict[str, Any]], order: list[int]) -> Any:
    """What is found when people are added in an order, in numbers of people."""
    with CRM.open("memory:") as crm:
        ids = stored(crm, [people[at] for at in order])
        number = dict(zip(ids, order, strict=True))
        found = find_groups(crm, rules_of({}), 40)
    pairs = [pair for group in found.groups for pair in group.pairs]
    judged = {(frozenset((number[p.one], number[p.other])), p.score, frozenset(p.reasons)) for p in pairs}
    groups = {(frozenset(number[one] for one in group.members), group.score) for group in found.groups}
    return judged, groups, found.below


@settings(max_examples=10, deadline=None)
@given(people=PEOPLE, data=st.data())
def test_what_is_found_does_not_depend_on_the_order(people: list[dict[str, Any]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(people))))
    assert found_of(people, list(range(len(people)))) == found_of(people, order)


def kept(crm: CRM) -> dict[str, Counter[Any]]:
    """All that a merge must not lose, without whose it is, and one address once."""
    return {
        "points": Counter({(one.kind, one.key): 1 for one in crm.contact_points.find(limit=None)}),
        "deals": Counter(deal.title for deal in crm.deals.find(limit=None)),
        "sales": Counter(sale.amount for sale in crm.sales.find(limit=None)),
        "names": Counter(
            (one.system, one.external) for one in crm.external_ids.find('system != "crm-core"', limit=None)
        ),
    }


@settings(max_examples=10, deadline=None)
@given(people=PEOPLE, rule=st.sampled_from(["oldest", "fullest"]), least=st.sampled_from([40, 60, 90]))
def test_merging_by_rule_loses_nothing_and_undo_brings_all_back(
    people: list[dict[str, Any]], rule: str, least: int
) -> None:
    with CRM.open("memory:") as crm:
        ids = stored(crm, people)
        before, records = kept(crm), crm.customers.get_many(ids)
        groups = find_groups(crm, rules_of({}), least).groups
        done = merge(crm, plans(crm, groups, rule))
        assert (before, ()) == (kept(crm), done.refused)
        assert len(people) - sum(len(group.members) - 1 for group in groups) == crm.customers.count()
        owners = {deal.customer_id for deal in crm.deals.find(limit=None)}
        assert owners == {customer.id for customer in crm.customers.find(limit=None)}
        if done.operation_id is not None:
            report = crm.ledger.undo(done.operation_id)
            assert ((), ()) == (report.kept, report.refused)
        again = [attr.evolve(version=1, created_tx=0, updated_tx=0) for attr in crm.customers.get_many(ids)]
        assert [one.evolve(version=1, created_tx=0, updated_tx=0) for one in records] == again
        assert before == kept(crm)


def test_groups_of_the_same_pairs_are_the_same_in_any_order() -> None:
    with CRM.open("memory:") as crm:
        stored(crm, [{"name": name, "city": "X", "kind": "person", "email": None, "phone": None, "external": None}
                     for name in ("Ada Lovelace", "Ada Lovelase", "Ada Lovelaze", "Lovelace Ada")])  # fmt: skip
        found: Found = find_groups(crm, rules_of({}), 40)
    pairs = [pair for group in found.groups for pair in group.pairs]
    assert list(found.groups) == list(grouped(reversed(pairs))) == list(grouped(pairs))
